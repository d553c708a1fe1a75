"""Planning that fails for a reason which may pass is tried again, and a scan fails with that reason at the last."""

from __future__ import annotations

from typing import NoReturn

import pytest
from redis import Redis
from rq import SimpleWorker

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, ListedJob, queue
from tokenforce_core.scans.stages import start_planning
from tokenforce_core.scans.store import Store
from tokenforce_service.planning import job
from tokenforce_service.refusals import Refusal

HUB_AWAY = Refusal(ErrorCode.hub_unreachable, "The model hub cannot be reached for org/name; check the network.")
DISK_FULL = Refusal(ErrorCode.storage_full, "The disk is too full for org/name; free some space.")
OFFLINE = Refusal(ErrorCode.hub_unreachable, "org/name is a hub id, and this service works without a hub.", status=422)
PICKLES = Refusal(ErrorCode.pickle_weights, "org/name has only pickle weights; convert it to safetensors.")
NONE_SUCH = Refusal(ErrorCode.model_not_found, "The hub has no org/name; check the id.")


def attempts(redis: Redis, monkeypatch: pytest.MonkeyPatch, *refusals: Refusal) -> tuple[int, Store]:
    """How often a scan is planned of which each attempt is refused for the next of these reasons."""
    left, store = list(refusals), Store(redis)
    monkeypatch.setattr(job, "open_store", lambda _settings: store)

    def refused(*_: object, **__: object) -> NoReturn:
        raise left.pop(0)

    monkeypatch.setattr(job, "open_target", refused)
    store.create("scan_1", ScanRequest(model="org/name"), "local")
    start_planning(store, "scan_1")
    SimpleWorker([queue(CONTROL_QUEUE, redis)], connection=redis, job_class=ListedJob, serializer=SERIALIZER).work(
        burst=True, logging_level="CRITICAL"
    )
    return len(refusals) - len(left), store


@pytest.mark.parametrize("passing", [HUB_AWAY, DISK_FULL], ids=["hub", "disk"])
def test_what_may_pass_is_tried_three_times(redis: Redis, monkeypatch: pytest.MonkeyPatch, passing: Refusal) -> None:
    tried, store = attempts(redis, monkeypatch, *[passing] * 9)
    row = store.row("scan_1")
    assert row is not None
    assert (tried, row.status) == (3, ScanStatus.failed)
    assert row.error is not None
    assert (row.error.code, row.error.detail) == (passing.code, passing.detail)


@pytest.mark.parametrize("lasting", [OFFLINE, PICKLES], ids=["offline", "pickles"])
def test_what_will_not_pass_is_not_tried_again(redis: Redis, monkeypatch: pytest.MonkeyPatch, lasting: Refusal) -> None:
    tried, store = attempts(redis, monkeypatch, lasting, lasting)
    assert (tried, store.status("scan_1")) == (1, ScanStatus.failed)


def test_a_hub_that_is_back_says_more(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, store = attempts(redis, monkeypatch, HUB_AWAY, NONE_SUCH, HUB_AWAY)
    row = store.row("scan_1")
    assert row is not None
    assert row.error is not None
    assert (tried, row.error.code) == (2, ErrorCode.model_not_found)
