"""Webhooks of the Hugging Face Hub (https://huggingface.co/docs/hub/webhooks, version 3): which of them are uploads.

We have our own model of the body, because that of huggingface_hub refuses unknown fields.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field

from tokenforce_service.models import hub
from tokenforce_service.upload_hooks.start_scan import Upload

CONTENT = "repo.content"
MAIN = "refs/heads/main"
_SCOPES = frozenset({"repo", CONTENT, "repo.config", "discussion", "discussion.comment"})
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class HubAction(_Part):
    """What happened: `action` create, delete, update or move, in the `scope`."""

    action: str
    scope: str


class HubRepo(_Part):
    type: str
    name: str
    id: str


class HubRef(_Part):
    """A branch or tag that moved. `new_sha` is None if it was deleted."""

    ref: str
    new_sha: str | None = Field(default=None, alias="newSha")


class HubEvent(_Part):
    """The body of one webhook: the fields that matter here."""

    event: HubAction
    repo: HubRepo | None = None
    updated_refs: list[HubRef] | None = Field(default=None, alias="updatedRefs")

    def upload(self) -> Upload | str:
        """The upload, or the reason why there is nothing to scan."""
        action, scope = self._narrowed()
        if (action, scope) != ("update", CONTENT) or self.repo is None:
            return f"Not scanned: {_shown(action)} of {_shown(scope)} does not change the content of a repository."
        if self.repo.type != "model":
            return f"Not scanned: {_shown(self.repo.name)} is a {_shown(self.repo.type)}, not a model."
        if not hub.is_hub_id(self.repo.name) or "@" in self.repo.name:
            return f"Not scanned: {_shown(self.repo.name)} is not a name of the form org/name."
        moved = next((ref for ref in self.updated_refs or [] if ref.ref == MAIN), None)
        if moved is None:
            return "Not scanned: the main branch has not changed."
        if moved.new_sha is None:
            return "Not scanned: the main branch was deleted."
        if not _COMMIT.fullmatch(moved.new_sha):
            return "Not scanned: the main branch's newSha is not a commit."
        name = self.repo.name
        return Upload(name, f"{name}@{moved.new_sha}", ("hub", self.repo.id, moved.new_sha))

    def _narrowed(self) -> tuple[str, str]:
        """Action and scope. An unknown scope of a newer Hub counts as an update in the known scope above it."""
        scope = self.event.scope
        while scope not in _SCOPES and "." in scope:
            scope = scope.rpartition(".")[0]
        return (self.event.action if scope == self.event.scope else "update"), scope


def _shown(text: str) -> str:
    return text[:200]
