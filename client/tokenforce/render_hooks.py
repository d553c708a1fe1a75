"""Upload hooks for human eyes, on stdout. Patterns and models are strangers' texts: shown, never obeyed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tokenforce import render
from tokenforce.hook_types import Hook, HookAnswer


def print_hooks(hooks: Sequence[Hook]) -> None:
    """One row a hook: what it scans, and what blocks or asks for a person."""
    if not hooks:
        render.stdout().print("no hooks")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("id", "created", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("models", "blocks", "reviews"):
        table.add_column(column, overflow="fold")
    for hook in hooks:
        policy = hook.policy
        cells = (hook.id, f"{hook.created_at:%Y-%m-%d %H:%M}", hook.kind, ", ".join(policy.repos))
        table.add_row(
            *(Text(render.visible(cell)) for cell in (*cells, ", ".join(policy.block_on), ", ".join(policy.review_on)))
        )
    render.stdout().print(table)


def print_answer(answer: HookAnswer) -> None:
    """What a hook made of an event, in one line, and the scan's id in a second one."""
    lines = [f"{answer.action.value}: {answer.reason}", *([answer.scan_id] if answer.scan_id else [])]
    for line in lines:
        render.stdout().print(Text(render.visible(line)), soft_wrap=True)
