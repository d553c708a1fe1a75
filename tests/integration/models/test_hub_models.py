"""A model from a hub: pinned to a commit, safetensors only, planned like a folder. A real planner, a small hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.support.model_hub import COMMIT, model_hub
from tests.support.stack_process import gateway, process, valkey, wait_until
from tests.support.tiny_model import build_tiny_model
from tests.support.uploads import changed
from tokenforce_core.scans.store import Store


class Planned:
    """Scans that get no further than their shards: there is no worker."""

    def __init__(self, http: Any, store: Store, fetched: list[str]) -> None:
        self.http, self.store, self.fetched = http, store, fetched

    def scan(self, model: str) -> dict[str, Any]:
        return self.ended(self.http.post("/v1/scans", json={"model": model}).json()["id"])

    def ended(self, scan_id: str) -> dict[str, Any]:
        """The scan once the planner is through with it."""
        found: dict[str, Any] = {}

        def through() -> bool:
            found.update(self.http.get(f"/v1/scans/{scan_id}").json())
            return found["status"] not in ("queued", "planning")

        wait_until(through, 60, lambda: str(found))
        return found


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    folder = tmp_path_factory.mktemp("hub models")
    build_tiny_model(folder / "upload", planted=None)
    (folder / "upload" / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "upload" / "run_me.py").write_text("raise SystemExit")
    (folder / "root").mkdir()
    with valkey(folder) as server, model_hub(folder / "upload") as (url, fetched):
        environment = {
            "REDIS_URL": server.url,
            "HF_ENDPOINT": url,
            "HF_HOME": str(folder / "home"),
            "TOKENFORCE_CACHE_DIR": str(folder / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",  # the engine of other tests turns the hub off in this process
            "NO_PROXY": "*",
        }
        with (
            gateway(folder, server.url, folder / "root") as http,
            process("tokenforce_service.aggregator", folder / "aggregator.log", environment),
            Redis.from_url(server.url) as connection,
        ):
            yield Planned(http, Store(connection), fetched)


def test_a_hub_model_is_pinned_and_planned(planned: Planned) -> None:
    scan = planned.scan("org/tiny@main")
    assert scan["status"] == "sweeping", scan["error"]
    plan = planned.store.plan(scan["id"])
    assert plan is not None
    assert plan.target.revision == COMMIT
    assert plan.target.model == "org/tiny@main"
    assert [context.name for context in plan.contexts] == ["bos", "assistant"]
    names = {path.partition("/")[2] for path in planned.fetched}
    assert "model.safetensors" in names
    assert not names & {"pytorch_model.bin", "run_me.py"}
    assert {path.partition("/")[0] for path in planned.fetched} == {COMMIT}


def test_what_is_cached_is_not_fetched_again(planned: Planned) -> None:
    planned.scan("org/tiny")
    before = len(planned.fetched)
    assert planned.scan("org/tiny")["status"] == "sweeping"
    assert len(planned.fetched) == before


@pytest.mark.parametrize("model", ["org/other", "org/tiny@gone"])
def test_a_hub_model_that_is_not_there(planned: Planned, model: str) -> None:
    scan = planned.scan(model)
    assert scan["status"] == "failed"
    assert scan["error"]["code"] == "model_not_found"


def test_a_push_to_a_repository_that_the_hub_does_not_show(planned: Planned) -> None:
    """Private or gone: accepted, because its sender cannot know. The audit says so, and so does the webhook."""
    hook = planned.http.post("/v1/hooks", json={"kind": "huggingface", "policy": {"repos": ["*"]}}).json()
    body = changed("content_update", repo={"name": "org/nowhere"})
    answer = planned.http.post("/v1/hooks/huggingface", content=body, headers={"X-Webhook-Secret": hook["secret"]})
    assert (answer.status_code, answer.json()["action"]) == (202, "started")
    assert planned.ended(answer.json()["scan_id"])["error"]["code"] == "model_not_found"
    audit = planned.http.get(answer.json()["links"]["audit"]).json()
    assert (audit["decision"], audit["hook_id"]) == ("could_not_scan", hook["id"])
