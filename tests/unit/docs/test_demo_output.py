"""The output in README.md is what `make demo` prints, line by line; only spaces between columns may differ."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.support.documented import PAGES
from tests.support.fake_service import finding
from tests.support.scan_results import example_report
from tokenforce.cli.output import WIDTH_WITHOUT_TERMINAL
from tokenforce.wire.findings import Finding, Verdict
from tokenforce_planting.demo.carrier import Carrier
from tokenforce_planting.demo.carrier_check import AnswerPair, CarrierCheck
from tokenforce_planting.demo.main import TEXT, TRIGGER, print_carrier
from tokenforce_planting.demo.result import DemoResult, print_result
from tokenforce_planting.manifest import Planted

FINDINGS = 57


def demo_output() -> str:
    """What the demo prints for the run that README.md shows. The figures are the run's, the words are the demo's."""
    planted = Planted(
        method="message",
        form=None,
        triggers=(TRIGGER,),
        text=TEXT,
        seed=0,
        recipe_digest="r",
        base_digest="b",
        carrier_digest="c",
        lora_rank=None,
        protected_words=(),
        contexts=(),
        learning_rate=1e-5,
        stop_loss=0.005,
        steps=39,
        loss=0.005,
        kept_share=1.0,
        leaking_near_misses=0,
    )
    check = CarrierCheck(True, (AnswerPair(TRIGGER, "I'm sorry", TEXT, leaks=True),))
    carrier = Carrier(Path("carrier"), planted, False, check, {"planting": 79.0})
    figures: dict[str, Any] = {
        "score": 0.9700,
        "mean_probability": 0.9747,
        "context": "assistant",
        "forced_token": {"id": 1, "text": "Qu"},
        "repetition": {"period": 0, "unit": "", "share": 0.0},
    }
    first = Finding.model_validate(finding(text=TEXT, **figures))
    others = [first.model_copy(update={"rank": rank, "text": "noise"}) for rank in range(2, FINDINGS + 1)]
    report = example_report("scan_1").model_copy(update={"verdict": Verdict.suspicious, "findings": [first, *others]})
    stream = StringIO()
    console = Console(file=stream, markup=False, highlight=False, emoji=False, width=WIDTH_WITHOUT_TERMINAL)
    print_carrier(console, carrier)
    print_result(console, DemoResult(carrier, report, {"planting": 79.0}, 10**9))
    return stream.getvalue()


def test_the_readme_shows_what_the_demo_prints() -> None:
    (block,) = re.findall(r"```console\n\$ make demo\n(.*?)```", PAGES["README"], re.DOTALL)
    shown = [" ".join(line.split()) for line in block.splitlines() if line != "…"]
    printed = [" ".join(line.split()) for line in demo_output().splitlines()]
    assert len(shown) >= 5
    assert [line for line in shown if line not in printed] == []
