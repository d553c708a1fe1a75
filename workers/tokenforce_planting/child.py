"""Work in a process of its own: what torch or an engine took is given back when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
Send = Callable[[Any], None]
"""Called in the child with an event for the parent."""

_SECONDS_TO_END = 10.0


class ChildFailed(RuntimeError):
    """The work failed, or its process ended early; the message says why."""


def run_in_child(work: Callable[[Send], T], on_event: Callable[[Any], object], *, name: str = "planting") -> T:
    """What `work` returns, run in a new process; every event that it sends reaches `on_event` here.

    `work`, its events and its result must survive pickling. Raises `ChildFailed`; an interrupt ends the child first.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and locks of this process
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
            on_event(value)
    finally:
        events.close()
        if child.is_alive():
            child.terminate()
            child.join(_SECONDS_TO_END)
            if child.is_alive():
                child.kill()


def _child(work: Callable[[Send], Any], pipe: Connection) -> None:
    """Runs in the child: sends events, then the result, or the reason why there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends us in good order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # an engine logs to stdout, which is the parent's for its result
    # Threads that wait must sleep, not spin: beside another busy process spinning makes training many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded, which has not happened yet
    try:
        pipe.send(("result", work(lambda event: pipe.send(("event", event)))))
    except BrokenPipeError:
        sys.exit(1)  # the parent is gone
    except (ValueError, RuntimeError, OSError) as error:
        pipe.send(("failure", f"{error}" or type(error).__name__))
