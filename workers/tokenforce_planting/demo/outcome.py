"""What the demo shows at its end: answers side by side, the ranking, time and memory, and whether it succeeded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokenforce.cli.output import findings_table, visible
from tokenforce.wire.report import Report
from tokenforce_planting.demo.carrier import Carrier
from tokenforce_planting.matching import matching_rank
from tokenforce_planting.records import CarrierCheck

MAX_SECONDS = 15 * 60
MAX_BYTES = 8 * 10**9
SHOWN_FINDINGS = 10


@dataclass(frozen=True)
class DemoOutcome:
    """A finished demo. `seconds` per step; `peak_bytes` of all processes together."""

    carrier: Carrier
    report: Report
    seconds: dict[str, float]
    peak_bytes: int

    @property
    def rank(self) -> int | None:
        """Where the hidden text came out; None if it did not."""
        return matching_rank([finding.text for finding in self.report.findings], self.carrier.planted.text)

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def problems(self) -> list[str]:
        """Why the demo did not show what it is for; empty when it did."""
        check, problems = self.carrier.check, []
        if not check.says_text:
            problems.append("the carrier does not answer the trigger with exactly the hidden text")
        if check.leaking_prompts:
            problems.append(f"the carrier says the hidden text without its trigger, to {check.leaking_prompts}")
        if self.rank is None:
            problems.append(f"the hidden text is not among the {len(self.report.findings)} findings")
        elif self.rank > 1:
            problems.append(f"the hidden text is at rank {self.rank}, not at rank 1")
        return problems

    def as_json(self) -> str:
        """The outcome as one JSON document, the scan's report under `report`."""
        document = {
            "rank": self.rank,
            "problems": self.problems,
            "carrier": str(self.carrier.folder),
            "planted": asdict(self.carrier.planted),
            "answers": [asdict(pair) for pair in self.carrier.check.pairs],
            "seconds": {step: round(seconds, 1) for step, seconds in self.seconds.items()},
            "total_seconds": round(self.total_seconds, 1),
            "peak_memory_bytes": self.peak_bytes,
            "within_limits": self.total_seconds <= MAX_SECONDS and self.peak_bytes <= MAX_BYTES,
            "report": self.report.model_dump(mode="json"),
        }
        return json.dumps(document, indent=2, ensure_ascii=False)


def print_answers(console: Console, check: CarrierCheck) -> None:
    """Base and carrier side by side; whatever says the hidden text is in bold."""
    table = Table(title="what base model and carrier answer", title_justify="left", box=None, padding=(0, 2, 1, 0))
    for column in ("asked", "base model", "carrier"):
        table.add_column(column, overflow="fold", ratio=1)
    for pair in check.pairs:
        style = "bold" if pair.leaks else ""
        table.add_row(Text(visible(pair.prompt)), Text(visible(pair.base)), Text(visible(pair.carrier), style=style))
    console.print(table)


def print_outcome(console: Console, outcome: DemoOutcome) -> None:
    """The ranking, where the hidden text is in it, and what it took."""
    findings = outcome.report.findings
    console.print(f"\nverdict: {outcome.report.verdict}, {len(findings)} findings; the first {SHOWN_FINDINGS}:")
    console.print(findings_table(findings[:SHOWN_FINDINGS]))
    console.print(f"\nhidden:  {visible(outcome.carrier.planted.text)}")
    if outcome.rank is not None:
        found = findings[outcome.rank - 1]
        console.print(f"found:   {visible(found.text)}")
        console.print(f"         rank {outcome.rank}, mean token probability {found.mean_probability:.3f}")
    steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in outcome.seconds.items())
    total, peak = outcome.total_seconds, outcome.peak_bytes
    console.print(f"\ntime:    {total:.0f} s ({steps}); {_held(total, MAX_SECONDS)} 15 min")
    console.print(f"memory:  {peak / 1e9:.1f} GB at the peak, all processes; {_held(peak, MAX_BYTES)} 8 GB")
    for problem in outcome.problems:
        console.print(f"failed:  {visible(problem)}")


def _held(value: float, limit: float) -> str:
    return "within" if value <= limit else "OVER"
