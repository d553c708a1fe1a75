"""Backoff: its bounds, its end after a day, and what receivers may ask for."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce.wire.webhooks import DeliveryStatus
from tokenforce_service.webhooks.backoff import (
    FIRST_PAUSE_SECONDS,
    GIVE_UP_AFTER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    SHORTEST_PAUSE_SECONDS,
    asked_pause,
    next_attempt,
)
from tokenforce_service.webhooks.delivery_store import MOST_LOGGED, StoredDelivery
from tokenforce_service.webhooks.post import Reply
from tokenforce_service.webhooks.sender import after_attempt

NOW = 1_800_000_000.0


@given(st.integers(1, 10_000), st.floats(0, GIVE_UP_AFTER_SECONDS - 1), st.floats(0, 1))
def test_a_pause_is_between_nothing_and_the_doubled_one(attempts: int, passed: float, dice: float) -> None:
    since = NOW - passed
    due = next_attempt(attempts, since, NOW, draw=lambda low, high: low + dice * (high - low))
    longest = min(FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 50), LONGEST_PAUSE_SECONDS)
    assert due is not None
    assert NOW <= due <= min(NOW + longest, since + GIVE_UP_AFTER_SECONDS) + 1e-3
    drawn = SHORTEST_PAUSE_SECONDS + dice * (longest - SHORTEST_PAUSE_SECONDS)
    assert due == pytest.approx(min(NOW + drawn, since + GIVE_UP_AFTER_SECONDS), abs=1e-3)


@given(st.floats(0, 10 * GIVE_UP_AFTER_SECONDS), st.integers(1, 100))
def test_after_a_day_it_is_given_up(late: float, attempts: int) -> None:
    assert next_attempt(attempts, NOW - GIVE_UP_AFTER_SECONDS - late, NOW) is None


@given(st.integers(0, 2**32))
def test_every_delivery_ends_after_a_day_and_not_before(seed: int) -> None:
    dice = random.Random(seed)
    now, attempts = NOW, 1
    while (due := next_attempt(attempts, NOW, now, draw=dice.uniform)) is not None:
        now, attempts = due, attempts + 1
    assert 15 < attempts < 100
    assert now == pytest.approx(NOW + GIVE_UP_AFTER_SECONDS)


@given(st.integers(0, 10**12))
def test_retry_after_is_respected_within_reason(seconds: int) -> None:
    asked = asked_pause(429, str(seconds), NOW)
    assert asked == min(seconds, LONGEST_RETRY_AFTER_SECONDS)
    due = next_attempt(1, NOW, NOW, asked, draw=lambda low, high: low)
    assert due == NOW + max(asked, SHORTEST_PAUSE_SECONDS)


def test_retry_after_as_a_date() -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)
    assert asked_pause(503, date, NOW) == 90
    assert asked_pause(503, format_datetime(datetime.fromtimestamp(NOW - 90, UTC)), NOW) == 0


@given(st.text(max_size=60))
def test_any_retry_after_is_survived(value: str) -> None:
    asked = asked_pause(503, value, NOW)
    assert asked is None or 0 <= asked <= LONGEST_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("status", [None, 200, 302, 410, 500])
def test_others_ask_for_nothing(status: int | None) -> None:
    assert asked_pause(status, "60", NOW) is None


# --- what an attempt makes of a delivery --------------------------------------------------------------

DELIVERY = StoredDelivery(event_id="evt_1", type="scan.failed", body="{}", created_at=NOW, since=NOW, next_at=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    after = after_attempt(DELIVERY, Reply(0.1, status=status), NOW)
    assert (after.status, after.next_at, after.attempts) == (DeliveryStatus.delivered, None, 1)


@pytest.mark.parametrize("status", [None, 101, 301, 302, 400, 401, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    after = after_attempt(DELIVERY, Reply(0.1, status=status, error=None if status else "no answer"), NOW)
    assert after.status is DeliveryStatus.pending
    assert after.next_at is not None
    assert NOW <= after.next_at <= NOW + 0.1 + FIRST_PAUSE_SECONDS
    late = after_attempt(DELIVERY, Reply(0.1, status=status), NOW + GIVE_UP_AFTER_SECONDS)
    assert (late.status, late.next_at) == (DeliveryStatus.dead, None)


def test_gone_is_given_up_at_once() -> None:
    assert after_attempt(DELIVERY, Reply(0.1, status=410), NOW).status is DeliveryStatus.dead


def test_the_log_of_a_delivery_is_bounded() -> None:
    after = DELIVERY
    for number in range(MOST_LOGGED + 5):
        after = after_attempt(after, Reply(0.1, status=500, excerpt=str(number)), NOW)
    assert after.attempts == MOST_LOGGED + 5
    assert [entry.excerpt for entry in after.log] == [str(number) for number in range(5, MOST_LOGGED + 5)]
