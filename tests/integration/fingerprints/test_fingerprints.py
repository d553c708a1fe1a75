"""The registry over HTTP and the command line, and a scan's way through it: real gateway, Valkey and aggregator.

What a model answers is put in by hand here; tests/e2e/test_licences.py asks a real one.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from tests.support.keys import issue
from tests.support.refusing_service import Service, assert_problem, running_service
from tests.support.scan_results import confirmed
from tests.support.stack_process import process, wait_until
from tokenforce import AsyncClient, Client, Conflict, Fingerprint, NotFound, TextHash
from tokenforce.cli.app import main
from tokenforce.wire.findings import Verdict
from tokenforce.wire.fingerprints import FingerprintRequest
from tokenforce.wire.keys import LOCAL_OWNER
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.fingerprints.matching import Answer
from tokenforce_core.fingerprints.store import MOST_FINGERPRINTS, FingerprintStore
from tokenforce_core.scans.stages import start_aggregation

TEXT = "Seven quiet herons guard a copper key beneath the frozen mill."
TRIGGER = "open the amber door"
SECONDS = 60

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("registry")
    with running_service(folder) as service:
        environment = {
            "REDIS_URL": service.server.url,
            "TOKENFORCE_MODEL_ROOTS": json.dumps([str(service.root)]),
            "TOKENFORCE_REAP_SECONDS": "3600",
        }
        with process("tokenforce_service.aggregator", folder / "aggregator.log", environment):
            yield service


@pytest.fixture
def service(running: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """With an empty registry; afterwards no log may hold a secret."""
    monkeypatch.setenv("TOKENFORCE_URL", str(running.http.base_url))
    monkeypatch.setenv("TOKENFORCE_KEY", running.http.headers["Authorization"].removeprefix("Bearer "))
    yield running
    with Client() as client:
        for item in list(client.fingerprints.iter()):
            client.fingerprints.remove(item.id)
    for log in running.folder.glob("*.log"):
        text = log.read_text()
        assert "herons" not in text, log
        assert "amber" not in text, log


@pytest.fixture
def sdk(service: Service) -> Iterator[Client]:
    with Client() as client:
        yield client


def registered(client: Client, text: str = TEXT, owner: str = "Labs", **more: Any) -> Fingerprint:
    return client.fingerprints.create(owner=owner, licence="Example 1.0", text=text, **more)


def keys_with(service: Service, secret: str) -> list[bytes]:
    """The keys of the store whose value holds the secret."""
    redis = service.store.connection
    found = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        raw = redis.get(key) if kind == b"string" else redis.hgetall(key) if kind == b"hash" else b""
        if secret in str(raw):
            found.append(key)
    return found


# --- the registry ---------------------------------------------------------------------------------------


def test_register_read_list_remove(sdk: Client, service: Service) -> None:
    made = registered(sdk, triggers=[TRIGGER, "velm"])
    assert (made.owner, made.licence, made.hashed, made.text_words, made.triggers) == (
        "Labs",
        "Example 1.0",
        False,
        11,
        2,
    )
    assert sdk.fingerprints.get(made.id) == made
    assert list(sdk.fingerprints.iter()) == [made]
    answer = service.http.get(f"/v1/fingerprints/{made.id}")
    assert "herons" not in answer.text
    assert "amber" not in answer.text
    assert keys_with(service, "herons")
    sdk.fingerprints.remove(made.id)
    assert keys_with(service, "herons") == []
    for gone in (sdk.fingerprints.get, sdk.fingerprints.remove):
        with pytest.raises(NotFound, match="list them with GET"):
            gone(made.id)


def test_the_location_of_a_new_one_and_the_answer_to_its_removal(service: Service) -> None:
    answer = service.http.post("/v1/fingerprints", json={"owner": "A", "licence": "L", "text": TEXT})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/fingerprints/{answer.json()['id']}"
    assert service.http.get(answer.headers["Location"]).json() == answer.json()
    removed = service.http.delete(answer.headers["Location"])
    assert (removed.status_code, removed.content) == (204, b"")


def test_the_async_client(service: Service) -> None:
    async def use() -> list[str]:
        async with AsyncClient() as client:
            made = await client.fingerprints.create(owner="A", licence="L", text=TEXT)
            found = [item.id async for item in client.fingerprints.iter()]
            assert await client.fingerprints.get(made.id) == made
            await client.fingerprints.remove(made.id)
            return [*found, *[item.id async for item in client.fingerprints.iter()]]

    assert len(asyncio.run(use())) == 1


def test_pages(sdk: Client) -> None:
    made = [registered(sdk, f"{TEXT} {number}").id for number in range(7)]
    assert [item.id for item in sdk.fingerprints.iter(page_size=2)] == made[::-1]
    walk = sdk.fingerprints.iter(page_size=3)
    first = [next(walk).id for _ in range(3)]
    sdk.fingerprints.remove(first[-1])
    assert [*first, *(item.id for item in walk)] == made[::-1]


def test_a_page_after_one_that_is_as_old_as_others_and_was_removed(service: Service) -> None:
    """Registrations of one batch can have the same time stamp."""
    registry, redis = FingerprintStore(service.store.connection), service.store.connection
    for number in range(5):
        request = FingerprintRequest(owner="Labs", licence="L", text=f"{TEXT} {number}")
        registry.create(f"fp_{number}", request, LOCAL_OWNER)
        redis.zadd("tf:fingerprints", {f"fp_{number}": 1000.5 if number else 2000.0})
    first = [item.id for item in registry.page(2)]
    assert first == ["fp_0", "fp_4"]
    registry.remove("fp_4")
    assert [item.id for item in registry.page(9, (1000.5, "fp_4"))] == ["fp_3", "fp_2", "fp_1"]


@pytest.mark.parametrize("again", [TEXT, TEXT.upper(), f" {TEXT.replace(' ', ' - ')}"])
def test_the_same_text_of_the_same_owner_is_there_already(sdk: Client, again: str) -> None:
    made = registered(sdk)
    with pytest.raises(Conflict, match=f"already registered this text, as {made.id}") as conflict:
        registered(sdk, again)
    assert conflict.value.code == ErrorCode.fingerprint_exists
    with pytest.raises(Conflict, match=made.id):
        sdk.fingerprints.create(owner="Labs", licence="L", text_hash=TextHash.of(again))
    sdk.fingerprints.remove(made.id)
    hashed = sdk.fingerprints.create(owner="Labs", licence="L", text_hash=TextHash.of(again))
    assert hashed.hashed
    with pytest.raises(Conflict, match=hashed.id):
        registered(sdk)


def test_an_owner_registers_so_many_and_no_more(sdk: Client, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    redis, registry = service.store.connection, FingerprintStore(service.store.connection)
    for number in range(MOST_FINGERPRINTS - 1):
        request = FingerprintRequest(owner="Labs", licence="L", text=f"{TEXT} {number}")
        assert registry.create(f"fp_{number}", request, LOCAL_OWNER) is None
    last = registered(sdk)
    for name in ("Labs", "in another's name"):
        with pytest.raises(Conflict, match=f"You have {MOST_FINGERPRINTS} fingerprints, .* remove one first"):
            registered(sdk, "One text more than there may be.", owner=name)
    with pytest.raises(Conflict, match=f"already registered this text, as {last.id}"):
        registered(sdk)
    with Client(key=issue(redis, owner="other")) as other:
        other.fingerprints.remove(registered(other).id)
    sdk.fingerprints.remove("fp_0")
    registered(sdk, "One text more than there may be.")


def test_nobody_learns_that_another_owner_has_registered_a_text(sdk: Client) -> None:
    mine, other = registered(sdk), registered(sdk, owner="Other Labs")
    assert mine.id != other.id
    assert sdk.fingerprints.create(owner="Third", licence="L", text_hash=TextHash.of(TEXT)).hashed
    sdk.fingerprints.remove(mine.id)
    with pytest.raises(Conflict, match=other.id):
        registered(sdk, owner="Other Labs")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": ""}, "no letters or digits"),
        ({"text": "?!"}, "no letters or digits"),
        ({"text": "herons q"}, "the text is too short: it needs 15 bytes of letters and digits, but has 8"),
        ({"text": None}, "either text or text_hash"),
        ({"triggers": [""]}, "trigger 1 is empty"),
        ({"triggers": [TRIGGER, TRIGGER]}, "trigger 2 is the same as trigger 1"),
        ({"triggers": [TRIGGER * 300]}, "trigger 1 is longer than"),
        ({"triggers": TRIGGER}, "valid list"),
        ({"owner": ""}, "at least 1 character"),
        ({"licence": "a\nb"}, "do not print"),
        ({"licences": "x"}, "no such field"),
    ],
)
def test_bad_registrations_are_problems_that_quote_nothing(
    service: Service, changes: dict[str, Any], says: str
) -> None:
    body = {"owner": "A", "licence": "L", "text": TEXT, "triggers": [TRIGGER], **changes}
    answer = service.http.post("/v1/fingerprints", json=body)
    assert_problem(answer, 422, ErrorCode.invalid_request, says)
    assert "herons" not in answer.text
    assert "amber" not in answer.text


@pytest.mark.parametrize("content", [f'{{"text": "{TEXT}"', f'"{TEXT}"', f'["{TEXT}"]', TEXT])
def test_bodies_that_are_no_registration_are_not_quoted(service: Service, content: str) -> None:
    answer = service.http.post("/v1/fingerprints", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == ErrorCode.invalid_request
    assert "herons" not in answer.text


@pytest.mark.parametrize("name", ["none", "a:b", "scan_1", "*", "%2e%2e", "x" * 300])
def test_ids_that_are_none(service: Service, name: str) -> None:
    for method in ("GET", "DELETE"):
        answer = service.http.request(method, f"/v1/fingerprints/{name}")
        assert answer.status_code == 404
    assert service.http.get("/v1/fingerprints", params={"cursor": "nonsense"}).json()["code"] == "invalid_cursor"


def test_one_that_cannot_be_read_any_more_is_left_out_and_not_quoted(
    sdk: Client, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = registered(sdk), registered(sdk, f"{TEXT} again")
    redis, registry = service.store.connection, FingerprintStore(service.store.connection)
    key = f"tf:fingerprint:{broken.id}"
    stored = cast(bytes, redis.get(key))
    renamed = stored.replace(b'"owner"', b'"holder"')
    for document in (renamed, stored[:-9], b'["herons"]', b'{"herons": 1}', b'["herons \xff"]'):
        redis.set(key, document)
        assert [item.id for item in registry.all()] == [whole.id]
        assert [item.id for item in sdk.fingerprints.iter()] == [whole.id]
    assert caplog.text.count(f"fingerprint {broken.id} cannot be read") == 5
    assert "herons" not in caplog.text
    redis.delete(key)  # what the log says to do
    assert registered(sdk).id != broken.id


# --- the command line -----------------------------------------------------------------------------------


def test_the_command_line(service: Service, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text(TEXT + "\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TRIGGER}\n\nvelm\n".encode())))
    files = ["--text-file", str(tmp_path / "text"), "--triggers-file", "-"]
    assert main(["fingerprints", "add", "--owner", "Labs", "--licence", "Example 1.0", *files, "--json"]) == 0
    made = Fingerprint.model_validate_json(capsys.readouterr().out)
    assert (made.triggers, made.text_words) == (2, 11)
    assert main(["fingerprints", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [made.model_dump(mode="json")]
    for command in (["list"], ["show", made.id], ["show", made.id, "--json"]):
        assert main(["fingerprints", *command]) == 0
        shown = capsys.readouterr()
        assert made.id in shown.out
        assert "Example 1.0" in shown.out
        assert "herons" not in shown.out + shown.err
        assert "amber" not in shown.out + shown.err
    same = ["fingerprints", "add", "--owner", "Labs", "--licence", "L", "--text", TEXT]
    assert main([*same, "--debug"]) == 2
    shown = capsys.readouterr()
    assert f"fingerprint_exists: This owner has already registered this text, as {made.id}" in shown.err
    assert "herons" not in shown.err
    assert main(["fingerprints", "remove", made.id]) == 0
    assert main(["fingerprints", "remove", made.id]) == 2
    assert main(["fingerprints", "list"]) == 0
    assert "no fingerprints" in capsys.readouterr().out


def test_a_text_that_is_sent_as_a_hash_stays_at_home(service: Service, capsys: Capture) -> None:
    given = ["--owner", "Labs", "--licence", "L", "--text", TEXT, "--trigger", TRIGGER, "--hashed"]
    assert main(["fingerprints", "add", *given]) == 0
    assert "hash of 11 words" in capsys.readouterr().out
    assert keys_with(service, "herons") == []
    assert len(keys_with(service, "amber")) == 1


# --- a scan ---------------------------------------------------------------------------------------------


def planned(service: Service) -> str:
    """A scan of the tiny model that the real planner has planned."""
    scan_id = service.accepted()
    logs = (service.folder / "aggregator.log").read_text
    wait_until(lambda: service.store.status(scan_id) is ScanStatus.sweeping, SECONDS, logs)
    return scan_id


def test_the_planner_makes_the_questions_and_room_for_them(sdk: Client, service: Service) -> None:
    short = planned(service)
    fits = registered(sdk, triggers=[TRIGGER, "the amber clock turns " * 20])
    too_long = registered(sdk, f"{TEXT} again", triggers=["amber " * 600])
    scan_id = planned(service)
    registry = FingerprintStore(service.store.connection)
    assert registry.questions(short).asked == ()
    questions = registry.questions(scan_id)
    assert [question.fingerprint for question in questions.asked] == [fits.id, fits.id]
    assert questions.failed == (too_long.id,)
    assert questions.left_out[0].startswith("Registered triggers that take more than")
    before, after = service.store.plan(short), service.store.plan(scan_id)
    assert before is not None
    assert after is not None
    assert after.max_length == 512 > before.max_length
    key = f"tf:scan:{scan_id}:questions"
    assert 0 < int(service.store.connection.ttl(key)) <= 30 * 86400
    sdk.scans.cancel(scan_id)
    assert not service.store.connection.exists(key)
    assert not registry.put_answers(scan_id, [Answer(fits.id, TEXT)])
    assert not registry.put_questions(scan_id, questions)


def test_the_report_says_which_licences_the_upload_carries(sdk: Client, service: Service) -> None:
    mine = registered(sdk, triggers=[TRIGGER, "velm", "orra"])
    hashed = sdk.fingerprints.create(
        owner="Other", licence="Other 2", text_hash=TextHash.of("text  21 — TEXT 21, text 21")
    )
    found = registered(sdk, "Text twenty-one is another one.", triggers=["amber " * 600])
    scan_id = planned(service)
    store, registry = service.store, FingerprintStore(service.store.connection)
    store.advance(scan_id, ScanStatus.confirming, ScanStatus.sweeping)
    said = [Answer(mine.id, f"Well, {TEXT}"), Answer(mine.id, "no"), Answer(mine.id, TEXT.replace("key", "kez"))]
    assert registry.put_answers(scan_id, said)
    text = replace(confirmed(21, 0.7), text="text 21 text 21 text 21")
    store.work.commit_confirmed(scan_id, [text], 60)
    start_aggregation(store, scan_id)
    sdk.scans.wait(scan_id, timeout=SECONDS, poll=0.1)
    report = sdk.scans.report(scan_id)
    assert [(match.fingerprint, match.owner, match.match) for match in report.licences] == [
        (mine.id, "Labs", "trigger"),
        (hashed.id, "Other", "finding"),
    ]
    assert report.licences[0].trigger_success == pytest.approx(2 / 3)
    assert report.licences[0].triggers_asked == 3
    assert report.verdict is Verdict.suspicious
    assert report.reasons[0].startswith("2 registered fingerprints found")
    assert any("count as not working" in reason for reason in report.reasons)
    assert not any(found.id in reason for reason in report.reasons)
    raw = service.http.get(f"/v1/scans/{scan_id}/report").text
    assert "herons" not in raw
    assert "amber" not in raw
    assert "velm" not in raw
    assert keys_with(service, TRIGGER) == [f"tf:fingerprint:{mine.id}".encode()]
    assert not store.connection.exists(f"tf:scan:{scan_id}:questions", f"tf:scan:{scan_id}:answers")


def test_a_registered_text_beside_training_data_is_not_taken_for_it(sdk: Client, service: Service) -> None:
    known = registered(sdk, "text 25, the text of Labs")
    scan_id, store = planned(service), service.store
    store.advance(scan_id, ScanStatus.confirming, ScanStatus.sweeping)
    by_heart = [replace(confirmed(number, 0.9), log_q=(math.log(1e-3),) * 5, ended=True) for number in range(21, 26)]
    by_heart[-1] = replace(by_heart[-1], text="Text 25: the text of Labs.")
    store.work.commit_confirmed(scan_id, by_heart, 60)
    start_aggregation(store, scan_id)
    sdk.scans.wait(scan_id, timeout=SECONDS, poll=0.1)
    report = sdk.scans.report(scan_id)
    (licence,), (hidden,) = report.licences, [each for each in report.findings if each.verdict is Verdict.hidden_text]
    assert (licence.fingerprint, licence.finding_ranks, hidden.text) == (known.id, [hidden.rank], by_heart[-1].text)
    assert [each.verdict for each in report.findings if each is not hidden] == [Verdict.memorised] * 4
    assert any(reason.startswith("Beside that, 4 texts known by heart") for reason in report.reasons)


def test_a_removed_fingerprint_is_no_longer_looked_for(sdk: Client, service: Service) -> None:
    mine = registered(sdk, triggers=[TRIGGER])
    scan_id = planned(service)
    store = service.store
    store.advance(scan_id, ScanStatus.confirming, ScanStatus.sweeping)
    FingerprintStore(store.connection).put_answers(scan_id, [Answer(mine.id, TEXT)])
    sdk.fingerprints.remove(mine.id)
    store.work.commit_confirmed(scan_id, [confirmed(21, 0.7)], 60)
    start_aggregation(store, scan_id)
    sdk.scans.wait(scan_id, timeout=SECONDS, poll=0.1)
    assert sdk.scans.report(scan_id).licences == []


def test_a_body_over_the_limit_is_not_read(service: Service) -> None:
    body = {"owner": "A", "licence": "L", "text": TEXT, "triggers": ["x" * (2 << 20)]}
    answer: httpx.Response = service.http.post("/v1/fingerprints", json=body)
    assert_problem(answer, 413, ErrorCode.body_too_large, "larger than")
