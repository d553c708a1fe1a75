"""Errors with a stable code. They become problem documents (RFC 9457), or the `error` of a scan."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokenforce.wire.problems import ErrorCode, Problem, problem_of

LONGEST_DETAIL = 2000
"""Characters. The longest allowed path fits, a whole hostile file does not."""


class Refusal(Exception):
    """Something cannot be done. `detail` says in one line what is wrong and what to do."""

    def __init__(
        self, code: ErrorCode, detail: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = one_line(detail)
        self.status = status or code.status
        self.headers = dict(headers or {})
        """Headers of the answer that belong to this error, such as `WWW-Authenticate`."""

    def problem(self, instance: str | None = None, request_id: str | None = None) -> Problem:
        return problem_of(self.code, self.detail, status=self.status, instance=instance, request_id=request_id)


def one_line(text: str) -> str:
    """A quote of a caller or an upload, safe for terminals and logs: no line breaks, no invisible characters."""
    shown = text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 token, 2 tokens."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_LIKE_A_TOKEN = re.compile(r"(tf_[A-Za-z0-9]+_)[A-Za-z0-9]+")


def without_secrets(text: str) -> str:
    """The text with the secrets of tokens removed, even of damaged ones, for logs."""
    return _LIKE_A_TOKEN.sub(r"\1…", text)
