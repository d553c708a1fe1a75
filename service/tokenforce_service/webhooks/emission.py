"""From an event to deliveries: one for each endpoint of its owner that wants it.

At least once: a scan stays among the untold ends (untold_ends.py) until all its deliveries are stored, and a delivery
that is added twice is one. A process that dies anywhere in between, or two that do this at once, lose and double
nothing.
"""

from __future__ import annotations

import logging
import time

from tokenforce_core.scans.store import Store
from tokenforce_core.scans.unannounced_ends import note_told, untold_ends
from tokenforce_service.webhooks.delivery_store import DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.endpoint_store import EndpointStore
from tokenforce_service.webhooks.payloads import Event, events_of

log = logging.getLogger(__name__)

_AT_ONCE = 100


class Emission:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._endpoints = EndpointStore(store.connection)
        self._deliveries = DeliveryStore(store.connection)

    def emit(self, event: Event) -> int:
        """Queue it for every endpoint that wants it; returns for how many it was new."""
        wanting = [endpoint for endpoint in self._endpoints.of(event.owner) if endpoint.wants(event.type)]
        return sum(self._deliveries.add(endpoint.id, delivery_of(event)) for endpoint in wanting)

    def tell_ended(self) -> None:
        """Emit what scans have given rise to that ended since the last call."""
        for scan_id in untold_ends(self._store.connection, _AT_ONCE):
            try:
                row = self._store.row(scan_id)
                for event in events_of(row, self._store) if row is not None else []:
                    self.emit(event)
            except (ValueError, KeyError) as error:  # pydantic, JSON, unknown names, missing fields: all for good
                log.error(
                    "no callback for the scan %s, because what is stored of it cannot be read: %s", scan_id, error
                )
            note_told(self._store.connection, scan_id)


def delivery_of(event: Event) -> StoredDelivery:
    """A delivery of this event, due at once: the retries are counted from now, not from when it happened."""
    now = time.time()
    return StoredDelivery(
        event_id=event.id, type=event.type.value, body=event.body(), created_at=now, since=now, next_at=now
    )
