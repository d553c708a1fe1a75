"""From an event to deliveries: one for each endpoint of its owner that wants the event.

A scan stays among the unannounced ends (unannounced_ends.py) until all its deliveries are stored, and a delivery that
is added twice is stored once. So nothing is lost or doubled if a process dies in between, or if two do this at once.
"""

from __future__ import annotations

import logging
import time

from tokenforce_core.scans.store import Store
from tokenforce_core.scans.unannounced_ends import note_announced, unannounced_ends
from tokenforce_service.webhooks.delivery_store import DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.endpoint_store import EndpointStore
from tokenforce_service.webhooks.payloads import Event, events_of

log = logging.getLogger(__name__)

_SCANS_PER_ROUND = 100
"""Ended scans per round."""


class Emission:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._endpoints = EndpointStore(store.connection)
        self._deliveries = DeliveryStore(store.connection)

    def emit(self, event: Event) -> int:
        """Queue an event for each endpoint that wants it. Returns the number of endpoints for which it was new."""
        wanting = [endpoint for endpoint in self._endpoints.of(event.owner) if endpoint.wants(event.type)]
        return sum(self._deliveries.add(endpoint.id, delivery_of(event)) for endpoint in wanting)

    def announce_ends(self) -> None:
        """Emit the events of scans that ended since the last call."""
        for scan_id in unannounced_ends(self._store.connection, _SCANS_PER_ROUND):
            try:
                row = self._store.row(scan_id)
                for event in events_of(row, self._store) if row is not None else []:
                    self.emit(event)
            # pydantic, JSON, unknown names, missing fields: a retry would not help
            except (ValueError, KeyError) as error:
                log.error("no webhook for the scan %s, because its stored data cannot be read: %s", scan_id, error)
            note_announced(self._store.connection, scan_id)


def delivery_of(event: Event) -> StoredDelivery:
    """A delivery of this event, due at once. Its retries count from now, not from the time of the event."""
    now = time.time()
    return StoredDelivery(
        event_id=event.id, type=event.type.value, body=event.body(), created_at=now, since=now, next_at=now
    )
