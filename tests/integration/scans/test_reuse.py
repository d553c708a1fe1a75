"""A scan of the same weights that is asked the same gets the earlier report: the real planner on a real Valkey."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.traffic import Gateway, gateway, tiny
from tokenforce.wire.fingerprints import FingerprintRequest
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.queues.workers import publish_engine
from tokenforce_core.scans.store import Store
from tokenforce_service.planning import job
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.reports.job import aggregate

__all__ = ["gateway", "tiny"]
TEXT = "Seven quiet herons guard a copper key beneath the frozen mill."
ENGINE = {"vllm": "0.32", "device": "cpu"}


class Scans:
    """Starts scans over HTTP and carries them out without an engine: planner and aggregator are real."""

    def __init__(self, http: TestClient, store: Store, model: Path) -> None:
        self.http, self.store, self.model = http, store, model

    def planned(self, model: Path | None = None, headers: dict[str, str] | None = None, **options: Any) -> str:
        body = {"model": str(model or self.model), "contexts": ["bos"], **options}
        answer = self.http.post("/v1/scans", json=body, headers=headers or {})
        assert answer.status_code == 202, answer.text
        scan_id: str = answer.json()["id"]
        job.plan(scan_id)
        return scan_id

    def measured(self, **options: Any) -> str:
        """A scan that went through all stages; its workers found nothing."""
        scan_id = self.planned(**options)
        assert self.status(scan_id) == "sweeping"
        self.finish(scan_id)
        return scan_id

    def finish(self, scan_id: str, **engine: str) -> None:
        plan = self.store.plan(scan_id)
        assert plan is not None
        for shard in plan.shards:
            self.store.work.commit_shard(scan_id, shard.index, shard.context, [], entries=10, tokens=20, keep=5)
        self.store.note_engine(scan_id, {**ENGINE, **engine})
        self.store.advance(scan_id, ScanStatus.confirming, ScanStatus.sweeping)
        self.store.work.commit_confirmed(scan_id, [], 0)
        self.store.advance(scan_id, ScanStatus.aggregating, ScanStatus.confirming)
        aggregate(scan_id)
        assert self.status(scan_id) == "succeeded"

    def status(self, scan_id: str) -> str:
        status = self.store.status(scan_id)
        assert status is not None
        return status.value

    def reused_from(self, scan_id: str) -> str | None:
        """Whose report this scan has; None if it has to be carried out."""
        if self.status(scan_id) != "succeeded":
            assert self.status(scan_id) == "sweeping"
            return None
        report = self.store.report(scan_id)
        assert report is not None
        return report.scan.reused_from


@pytest.fixture
def scans(
    gateway: Gateway, redis: Redis, store: Store, tiny: Path, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> Scans:
    monkeypatch.setenv("REDIS_URL", server_url)
    monkeypatch.setenv("TOKENFORCE_MODEL_ROOTS", f'["{tiny.parent}"]')
    publish_engine(redis, ENGINE, ["LlamaForCausalLM"])
    return Scans(gateway(), store, tiny)


def test_an_equal_scan_has_the_earlier_report(scans: Scans) -> None:
    first = scans.measured()
    second = scans.planned()
    assert scans.reused_from(second) == first
    report = scans.http.get(f"/v1/scans/{second}/report").json()
    earlier = scans.http.get(f"/v1/scans/{first}/report").json()
    record = report["scan"]
    assert record["id"] == second
    assert record["measured_at"] == earlier["scan"]["finished_at"]
    assert record["finished_at"] > earlier["scan"]["finished_at"]
    assert record["forward_tokens"] == 0
    assert set(record["timings_seconds"]) == {"queued", "planning", "total"}
    assert {name: report[name] for name in ("verdict", "reasons", "findings", "licences")} == {
        name: earlier[name] for name in ("verdict", "reasons", "findings", "licences")
    }
    shown = scans.http.get(f"/v1/scans/{second}").json()
    assert (shown["status"], shown["verdict"]) == ("succeeded", earlier["verdict"])
    assert scans.http.get(f"/v1/scans/{second}/findings").json() == {"items": [], "next_cursor": None, "partial": False}
    assert second not in scans.store.active()


def test_a_reused_report_leads_to_the_one_that_was_measured(scans: Scans) -> None:
    first = scans.measured()
    scans.planned()
    assert scans.reused_from(scans.planned()) == first


def test_the_same_weights_elsewhere_are_named_as_they_are_called_now(scans: Scans) -> None:
    first = scans.measured()
    copy = scans.model.parent / "copy"
    shutil.copytree(scans.model, copy)
    second = scans.planned(model=copy)
    assert scans.reused_from(second) == first
    report = scans.store.report(second)
    assert report is not None
    assert report.scan.target.model == str(copy)
    shutil.rmtree(copy)


def test_a_priority_asks_nothing_else(scans: Scans) -> None:
    first = scans.measured()
    assert scans.reused_from(scans.planned(priority="low")) == first


@pytest.mark.parametrize(
    "options",
    [
        {"force": True},
        {"alpha": 8},
        {"floor": 0.5},
        {"keep": 7},
        {"force_ids": [5, 6]},
        {"contexts": ["bos", {"name": "own", "ids": [1, 2, 3]}]},
        {"contexts": [{"name": "bos", "ids": [1, 2, 3]}]},
        {"preset": "paper"},
    ],
    ids=str,
)
def test_another_question_is_scanned(scans: Scans, options: dict[str, Any]) -> None:
    scans.measured()
    assert scans.reused_from(scans.planned(**options)) is None


def test_a_forced_scan_is_the_one_that_later_ones_reuse(scans: Scans) -> None:
    scans.measured()
    forced = scans.measured(force=True)
    assert scans.reused_from(scans.planned()) == forced


def test_other_weights_are_scanned(scans: Scans) -> None:
    scans.measured()
    changed = scans.model.parent / "changed"
    shutil.copytree(scans.model, changed)
    weights = next(changed.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert scans.reused_from(scans.planned(model=changed)) is None
    shutil.rmtree(changed)


def test_who_named_the_reference_is_another_question(scans: Scans) -> None:
    """A base that the requester trusts makes identical weights `clean`; one that the upload itself names does not."""
    upload = scans.model.parent / "upload"
    shutil.copytree(scans.model, upload)
    upload.joinpath("README.md").write_text(f"---\nbase_model: {scans.model}\n---\n")

    def verdict(reference: str) -> str:
        scan_id = scans.planned(model=upload, reference=reference)
        if scans.status(scan_id) == "aggregating":  # nothing is forced in weights that are the reference's
            aggregate(scan_id)
        report = scans.store.report(scan_id)
        assert report is not None
        return report.verdict.value

    assert [verdict(str(scans.model)), verdict("auto"), verdict(str(scans.model))] == ["clean", "inconclusive", "clean"]
    shutil.rmtree(upload)


def test_another_owner_gets_nothing_of_it(scans: Scans, redis: Redis) -> None:
    scans.measured()
    assert scans.reused_from(scans.planned(headers=bearer(redis, owner="other"))) is None


def register(redis: Redis, name: str = "fp_1") -> None:
    FingerprintStore(redis).create(name, FingerprintRequest(owner="A", licence="L", text=TEXT), "local")


def test_a_fingerprint_registered_since_is_not_missed(scans: Scans, redis: Redis) -> None:
    first = scans.measured()
    register(redis)
    second = scans.measured()
    assert second != first
    assert scans.reused_from(scans.planned()) == second
    FingerprintStore(redis).remove("fp_1")
    assert scans.reused_from(scans.planned()) == first
    register(redis, "fp_2")  # the same text again, with other triggers perhaps
    assert scans.reused_from(scans.planned()) is None


def test_a_fingerprint_registered_while_it_ran_spoils_it(scans: Scans, redis: Redis) -> None:
    """Its triggers were not asked, and what was compared is not what was registered at the start."""
    scan_id = scans.planned()
    register(redis)
    scans.finish(scan_id)
    assert scans.reused_from(scans.planned()) is None
    FingerprintStore(redis).remove("fp_1")
    assert scans.reused_from(scans.planned()) is None


def test_another_version_scans_again(scans: Scans, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scans.measured()
    publish_engine(redis, {**ENGINE, "vllm": "0.33"}, ["LlamaForCausalLM"])
    assert scans.reused_from(scans.planned()) is None
    publish_engine(redis, ENGINE, ["LlamaForCausalLM"])
    assert scans.reused_from(scans.planned()) == first
    monkeypatch.setattr("tokenforce_core.scans.reuse.version", lambda _: "99")
    assert scans.reused_from(scans.planned()) is None


def test_a_scan_on_another_engine_than_the_newest_is_not_reused(scans: Scans) -> None:
    scan_id = scans.planned()
    scans.finish(scan_id, vllm="0.31")
    assert scans.reused_from(scans.planned()) is None


def cancelled(scans: Scans) -> str:
    scan_id = scans.planned()
    scans.http.delete(f"/v1/scans/{scan_id}")
    return scan_id


def failed(scans: Scans) -> str:
    from tokenforce.wire.problems import Problem

    scan_id = scans.planned()
    scans.store.fail(scan_id, Problem(title="t", status=500, detail="d", code="engine_failed"))
    return scan_id


def running(scans: Scans) -> str:
    return scans.planned()


def expired(scans: Scans) -> str:
    scan_id = scans.measured()
    scans.store.connection.delete(f"tf:scan:{scan_id}:report")
    return scan_id


@pytest.mark.parametrize("earlier", [cancelled, failed, running, expired])
def test_without_a_report_there_is_nothing_to_reuse(scans: Scans, earlier: Callable[[Scans], str]) -> None:
    earlier(scans)
    assert scans.reused_from(scans.planned()) is None


def test_a_scan_cancelled_while_it_is_planned_stays_cancelled(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    scans.measured()

    def cancel_meanwhile(*arguments: Any) -> Any:
        for scan_id in scans.store.active():
            scans.store.cancel(scan_id)
        return make_plan(*arguments)

    monkeypatch.setattr("tokenforce_service.planning.job.make_plan", cancel_meanwhile)
    scan_id = scans.planned()
    assert scans.status(scan_id) == "cancelled"
    assert scans.store.report(scan_id) is None


def test_nothing_stays_noted_of_a_scan_that_ended(scans: Scans, redis: Redis) -> None:
    scan_id = scans.measured()
    assert redis.exists(f"tf:scan:{scan_id}:reuse") == 0
    (key,) = redis.keys("tf:reuse:*")
    assert 0 < redis.ttl(key) <= 30 * 86400
