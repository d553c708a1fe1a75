"""Runs work in a child process, so that the memory of torch or an engine is free again when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
Send = Callable[..., None]
"""The child calls it with the arguments of an event."""

_SECONDS_TO_END = 10.0


class ChildFailed(RuntimeError):
    """The work failed, or its process ended early. The message says why."""


def run_in_child(work: Callable[[Send], T], on_event: Callable[..., object], *, name: str = "planting") -> T:
    """Run `work` in a new process and return its result. Each event that it sends becomes a call of `on_event` here.

    `work`, its events and its result must be picklable. Raises `ChildFailed`. An interrupt ends the child first.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads and locks of this process
    events, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, sender), name=name, daemon=True)
    child.start()
    sender.close()
    try:
        while True:
            try:
                kind, value = events.recv()
            except EOFError:
                child.join()
                raise ChildFailed(f"the {name} process ended early (exit code {child.exitcode})") from None
            if kind == "result":
                child.join(_SECONDS_TO_END)
                result: T = value
                return result
            if kind == "failure":
                raise ChildFailed(value)
            on_event(*value)
    finally:
        events.close()
        if child.is_alive():
            child.terminate()
            child.join(_SECONDS_TO_END)
            if child.is_alive():
                child.kill()


def _child(work: Callable[[Send], Any], pipe: Connection) -> None:
    """Runs in the child: sends its events, then its result or the reason of its failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # an engine logs to stdout, where the parent prints its result
    # Waiting threads must sleep: if they spin beside another busy process, training takes many times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch reads this when it is imported, later
    try:
        pipe.send(("result", work(lambda *event: pipe.send(("event", event)))))
    except BrokenPipeError:
        sys.exit(1)  # the parent has ended
    except (ValueError, RuntimeError, OSError) as error:
        pipe.send(("failure", f"{error}" or type(error).__name__))
