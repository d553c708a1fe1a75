"""Scans a model of the zoo through the service, with the SDK, as any client would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenforce import Client
from tokenforce.wire.findings import Finding
from tokenforce_eval.methods import Method
from tokenforce_eval.rows import RankedText, Row, row_of
from tokenforce_eval.zoo_models import BuiltSpecimen

MAX_SCAN_SECONDS = 6 * 3600.0
"""A longer scan is an error."""


def scan(
    client: Client,
    model: BuiltSpecimen,
    base: Path,
    method: Method,
    ids: Sequence[int] | None,
    reports: Path,
) -> Row:
    """Scan one model with one method. `ids` None forces the whole vocabulary. `reports` keeps the report.

    Raises `TokenforceError`, `OSError`.
    """
    arguments: dict[str, Any] = {"model": str(model.folder), "force": True, **method.request}
    # `none`, because the service would contrast an adapter with its own base.
    arguments["reference"] = str(base) if method.reference else "none"
    if ids is not None and method.sampled:
        arguments["force_ids"] = list(ids)
    queued = client.scans.create(**arguments)
    try:
        client.scans.wait(queued.id, timeout=MAX_SCAN_SECONDS, poll=0.5)
    except KeyboardInterrupt:
        client.scans.cancel(queued.id)
        raise
    report = client.scans.report(queued.id)
    name = f"{model.specimen.name}-{method.name.replace(' ', '-')}.json"
    (reports / name).write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    seconds = report.scan.timings_seconds["total"] - report.scan.timings_seconds.get("queued", 0.0)
    ranking = [_ranked(finding) for finding in report.findings]
    return row_of(model, method, ranking, report.verdict.value, seconds, report.scan.forward_tokens)


def _ranked(finding: Finding) -> RankedText:
    return RankedText(
        text=finding.text,
        score=round(finding.score, 4),
        mean_probability=round(finding.mean_probability, 4),
        verdict=finding.verdict.value,
        contrast=finding.contrast,
        log_likelihood_ratio=finding.log_likelihood_ratio,
    )
