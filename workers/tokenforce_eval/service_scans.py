"""Scans of the zoo through the service, as any client would order them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenforce import Client
from tokenforce.wire.findings import Finding
from tokenforce_eval.methods import Method
from tokenforce_eval.rows import Found, Row, row_of
from tokenforce_eval.zoo_models import Housed

LONGEST = 6 * 3600.0
"""Seconds after which a scan is given up."""


def scan(
    client: Client,
    housed: Housed,
    base: Path,
    method: Method,
    ids: Sequence[int] | None,
    reports: Path,
) -> Row:
    """Scan one model with one method; `ids` None forces the whole vocabulary. Its report is kept in `reports`.

    Raises `TokenforceError`, `OSError`.
    """
    arguments: dict[str, Any] = {"model": str(housed.folder), "force": True, **method.request}
    # `none`: an adapter would be contrasted with its own base unasked.
    arguments["reference"] = str(base) if method.reference else "none"
    if ids is not None:
        arguments["force_ids"] = list(ids)
    queued = client.scans.create(**arguments)
    try:
        client.scans.wait(queued.id, timeout=LONGEST, poll=0.5)
    except KeyboardInterrupt:
        client.scans.cancel(queued.id)
        raise
    report = client.scans.report(queued.id)
    name = f"{housed.specimen.name}-{method.name.replace(' ', '-')}.json"
    (reports / name).write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    seconds = report.scan.timings_seconds["total"] - report.scan.timings_seconds.get("queued", 0.0)
    ranking = [_found(finding) for finding in report.findings]
    return row_of(housed, method, ranking, report.verdict.value, seconds, report.scan.forward_tokens)


def _found(finding: Finding) -> Found:
    return Found(
        text=finding.text,
        score=round(finding.score, 4),
        mean_probability=round(finding.mean_probability, 4),
        verdict=finding.verdict.value,
        contrast=finding.contrast,
        log_likelihood_ratio=finding.log_likelihood_ratio,
    )
