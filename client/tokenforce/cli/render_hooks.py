"""How upload hooks are listed, and what one made of an event."""

from __future__ import annotations

from rich.text import Text

from tokenforce.cli import output
from tokenforce.cli.tables import Listing, minute
from tokenforce.wire.upload_hooks import Hook, HookAnswer

HOOKS: Listing[Hook] = Listing(
    "hooks",
    narrow=("id", "created", "kind"),
    wide=("models", "blocks", "reviews"),
    cells=lambda hook: (
        *(hook.id, minute(hook.created_at), hook.kind),
        *(", ".join(part) for part in (hook.policy.repos, hook.policy.block_on, hook.policy.review_on)),
    ),
)


def print_answer(answer: HookAnswer) -> None:
    """What a hook made of an event, in one line, and the scan's id in a second one."""
    lines = [f"{answer.action.value}: {answer.reason}", *([answer.scan_id] if answer.scan_id else [])]
    for line in lines:
        output.stdout().print(Text(output.visible(line)), soft_wrap=True)
