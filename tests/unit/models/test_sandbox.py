"""The deadline for uploaded templates interrupts them and leaves RQ's own alarm as it was."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models import sandbox
from tokenforce_service.models.sandbox import _TICKS, MEMORY_BYTES, resource_limits
from tokenforce_service.refusals import Refusal

ENDLESS = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
)


def test_an_endless_template_is_interrupted() -> None:
    template = ImmutableSandboxedEnvironment().from_string(ENDLESS)
    started = time.monotonic()
    with pytest.raises(Refusal) as refused, resource_limits(0.2, "The chat template"):
        template.render()
    assert time.monotonic() - started < 5
    assert refused.value.code is ErrorCode.model_invalid
    assert "longer than" in refused.value.detail


def test_the_alarm_of_the_job_goes_on() -> None:
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with resource_limits(10, "Nothing"):
            time.sleep(0.05)
        remaining, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < remaining <= 0.3
        time.sleep(0.4)
        assert fired == [True]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


UNINTERRUPTIBLE = """
import hashlib
from tokenforce_service.models.sandbox import resource_limits
with resource_limits(0.5, "The tokenizer"):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_code_that_nothing_can_interrupt_ends_with_its_process() -> None:
    ended = subprocess.run([sys.executable, "-c", UNINTERRUPTIBLE], timeout=60, capture_output=True)
    assert ended.returncode == -signal.SIGXCPU


def test_a_template_that_takes_all_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 256 << 20)
    with (
        pytest.raises(Refusal, match="GiB of memory; simplify them") as refused,
        resource_limits(10, "The chat template"),
    ):
        ImmutableSandboxedEnvironment().from_string("{{ 'x' * 600000000 }}").render()
    assert refused.value.code is ErrorCode.model_invalid
    with pytest.raises(Refusal, match="took more than"), resource_limits(10, "The chat template"):
        bytearray(1 << 40)


def test_what_the_process_has_already_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 256 << 20)
    has = bytearray(512 << 20)
    with resource_limits(10, "The chat template"):
        assert len(bytearray(64 << 20)) < len(has)


def test_the_memory_limit_is_as_before_afterwards() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with resource_limits(10, "Nothing"):
        assert MEMORY_BYTES < resource.getrlimit(resource.RLIMIT_DATA)[0] < MEMORY_BYTES + (16 << 30)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_processor_limit_is_as_before_afterwards() -> None:
    before = resource.getrlimit(resource.RLIMIT_CPU)
    counted = time.clock_gettime(_TICKS)  # not process_time: the kernel holds the limit against this one
    with resource_limits(10, "Nothing"):
        assert counted + 20 <= resource.getrlimit(resource.RLIMIT_CPU)[0] < counted + 30
    assert resource.getrlimit(resource.RLIMIT_CPU) == before
