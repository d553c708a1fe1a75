"""A report as Markdown: whatever a model says stays text. Read back by a CommonMark parser with GFM tables."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.fake_service import HOSTILE, HOSTILE_SHOWN, FakeService, finding, report
from tokenforce.cli.app import main
from tokenforce.cli.output import taught_bar, visible
from tokenforce.cli.report_markdown import report_markdown
from tokenforce.wire.report import Report, TaughtWord, WeightRecord

Capture = pytest.CaptureFixture[str]
PARSER = MarkdownIt("commonmark").enable("table")
HARMLESS = {"code_inline", "text", "strong_open", "strong_close", "softbreak"}
BLOCKS = {"heading", "paragraph", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"}
TRICKS = st.sampled_from(
    [
        "`",
        "``",
        "|",
        "\\|",
        "\\",
        "\n",
        "\r\n\r\n",
        "# ",
        "<b>",
        "<!--",
        "](x:y)",
        "![",
        "```",
        "\u202e",
        "\x1b[2J",
        "---|",
    ]
)
texts = st.lists(TRICKS | st.text(max_size=6), max_size=8).map("".join)


def document(text: str) -> dict[str, Any]:
    made = report("hidden_text", [finding(text=text, context=text)])
    scan = made["scan"]
    target = {**scan["target"], "model": text, "digest": text, "revision": text, "architecture": text}
    reference = {"model": text, "digest": text, "source": text, "vocabulary_size": 9, "note": text}
    changes = {
        "id": text,
        "target": target,
        "reference": reference,
        "contexts": [{"name": text, "ids": [0], "text": text, "aligned": True, "note": text}],
        "skipped": [{"reason": text, "ranges": [[0, 3], [5, 5]]}],
        "versions": {text: text},
        "timings_seconds": {text: 1.5},
        "settings": {**scan["settings"], "preset": text},
        "reused_from": text,
    }
    token = {"id": 1, "text": text}
    suppressed = {"context": text, "forced_token": token, "token": token, "log_ratio": -3.0, "z": 9.0}
    licence = {"fingerprint": text, "owner": text, "licence": text, "match": "trigger"}
    return {
        **made,
        "reasons": [text],
        "scan": {**scan, **changes},
        "suppressed": [suppressed],
        "licences": [licence],
    }


@given(texts)
def test_nothing_that_a_model_says_is_parsed(text: str) -> None:
    markdown = report_markdown(Report.model_validate(document(text)), top=9)
    assert all(char.isprintable() for char in markdown.replace("\n", ""))
    tokens = PARSER.parse(markdown)
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert kinds <= BLOCKS | {"inline", "code_block"}
    inlines = [child for token in tokens if token.type == "inline" for child in token.children or []]
    assert {child.type for child in inlines} <= HARMLESS
    plain = report_markdown(Report.model_validate(document("x")), top=9)
    assert [t.type for t in tokens if t.type != "code_block"] == [
        t.type for t in PARSER.parse(plain) if t.type != "code_block"
    ]
    spans = [child.content for child in inlines if child.type == "code_inline"]
    shown = '"' + visible(text).replace("`", r"\x60") + '"'
    assert spans.count(shown) == 5  # the finding's text and token, the context's, both suppressed tokens


def test_a_reviewer_finds_all_that_matters() -> None:
    found = Report.model_validate(document("the hidden text"))
    markdown = report_markdown(found, top=9)
    headings = re.findall(r"^#+ .*$", markdown, re.MULTILINE)
    assert headings == [
        "# `the hidden text`: hidden_text",
        "## Why",
        "## Licences",
        "## Findings",
        "## Suppressed tokens",
        "## What was scanned",
        "## Settings",
    ]
    for part in (
        "Verdict: **hidden text**",
        "| 1 | inconclusive | 0.9877 |",
        "97% × 12",
        "5 | 0–3, 5 |",
        "α = 16, β = 50",
        "| `the hidden text` | 1.5 |",
    ):
        assert part in markdown


def test_only_the_first_findings_are_printed_and_it_is_said() -> None:
    found = Report.model_validate(report("clean", [finding(rank, f"text-{rank}") for rank in (1, 2, 3)]))
    markdown = report_markdown(found, top=2)
    assert "text-2" in markdown
    assert "text-3" not in markdown
    assert "2 of 3;" in markdown
    assert "None." in report_markdown(Report.model_validate(report("clean", [])), top=2)


def test_the_command_prints_or_writes_it(service: FakeService, capsys: Capture, tmp_path: Any) -> None:
    service.verdict = "hidden_text"
    service.findings = [finding(text=HOSTILE)]
    assert main(["report", "s1"]) == 1
    printed = capsys.readouterr()
    assert f'`"{HOSTILE_SHOWN}"`' in printed.out
    assert main(["report", "s1", "--output", str(tmp_path / "r.md")]) == 1
    assert (tmp_path / "r.md").read_text("utf-8") == printed.out
    assert capsys.readouterr().out == ""
    for words in (["--format", "json"], ["--json"]):
        assert main(["report", "s1", *words]) == 1
        assert Report.model_validate_json(capsys.readouterr().out).verdict == "hidden_text"


def test_the_command_s_mistakes(service: FakeService, capsys: Capture, tmp_path: Any) -> None:
    assert main(["report", "s1", "--format", "pdf"]) == 4
    assert main(["report", "s1", "--json", "--format", "markdown"]) == 4
    assert main(["report", "s1", "--output", str(tmp_path / "no" / "r.md")]) == 4
    service.ends = None
    assert main(["report", "s1"]) == 3
    assert "report_not_ready" in capsys.readouterr().err


def taught(text: str, **ranks: int) -> TaughtWord:
    return TaughtWord(id=1, text=text, ranks=ranks)


def test_the_words_that_the_weights_were_taught_are_shown_with_a_bar_each() -> None:
    words = [taught(" ferry", embedding=1, written=90), taught("`|", embedding=3000, written=17)]
    weights = WeightRecord(words=words, relative_change=0.0012)
    plain = Report.model_validate(report("clean", []))
    markdown = report_markdown(plain.model_copy(update={"weights": weights}), top=9)
    assert "## Words this model was taught" in markdown
    assert "changed by 0.12% of their size" in markdown
    assert '| `" ferry"` | `█` | 1 | 90 |' in markdown
    assert '| `"\\x60\\|"` | `▄` | 3000 | 17 |' in markdown
    assert "taught" not in report_markdown(plain, top=9)


def test_weights_that_could_not_be_compared_say_why() -> None:
    plain = Report.model_validate(report("clean", []))
    weights = WeightRecord(note="The weights were not compared: they are quantised.")
    assert "they are quantised" in report_markdown(plain.model_copy(update={"weights": weights}), top=9)


def test_the_bar_falls_by_a_step_for_each_doubling_of_the_rank() -> None:
    shown = [taught_bar(taught("x", pointed=rank)) for rank in (1, 2, 4, 8, 16, 32, 64, 128, 1200)]
    assert "".join(shown) == "█▇▆▅▄▃▂▁▁"
