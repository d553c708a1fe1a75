"""How long a scan took, stage by stage."""

from __future__ import annotations

from tokenforce_core.scans.row import ScanRow


def timings(row: ScanRow, now: float) -> dict[str, float]:
    """Seconds spent in each status, and in total."""
    times = sorted([("queued", row.created_at), *((s.value, at) for s, at in row.reached.items())], key=lambda t: t[1])
    ends = [at for _, at in times[1:]] + [now]
    spent = {name: round(end - start, 3) for (name, start), end in zip(times, ends, strict=True)}
    return {**spent, "total": round(now - row.created_at, 3)}
