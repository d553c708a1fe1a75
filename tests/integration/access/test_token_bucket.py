"""The Lua of the token buckets does what the obvious Python does, on a real server."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tokenforce_service.access.token_bucket import MINUTE, TAKE, TokenBuckets

START = 1_800_000_000_000_000
"""Microseconds; some day in 2027."""


class Bucket:
    """A token bucket by the book: a level that rises with time, a token taken out of it."""

    def __init__(self, per_minute: int) -> None:
        self.interval = MINUTE // per_minute
        self.level = self.whole = self.interval * per_minute
        self.at = START

    def take(self, now: int, wanted: int) -> tuple[int, int, int, int]:
        """(tokens given, tokens left, µs until full, µs until the next token)."""
        self.level = min(self.whole, self.level + now - self.at)
        self.at = now
        if self.level < self.interval:
            return 0, 0, self.whole - self.level, self.interval - self.level
        given = min(wanted, self.level // self.interval)
        self.level -= given * self.interval
        return given, self.level // self.interval, self.whole - self.level, 0


@given(
    per_minute=st.sampled_from([1, 2, 7, 60, 3000]),
    pauses=st.lists(
        st.tuples(st.one_of(st.integers(0, 50_000), st.integers(0, 2 * MINUTE)), st.sampled_from([1, 1, 5])),
        min_size=1,
        max_size=60,
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_is_a_token_bucket(redis: Redis, per_minute: int, pauses: list[tuple[int, int]]) -> None:
    redis.delete("bucket")
    # The same script on a clock of ours.
    script = redis.register_script("local now = tonumber(ARGV[4])\n" + TAKE)
    bucket, now = Bucket(per_minute), START
    for pause, wanted in pauses:
        now += pause
        with redis.pipeline() as pipe:
            script(keys=["bucket"], args=[MINUTE // per_minute, per_minute, wanted, now], client=pipe)
            pipe.persist("bucket")  # it would expire on the server's clock
            found, _ = pipe.execute()
        assert tuple(found) == bucket.take(now, wanted)


def test_a_bucket_gives_its_tokens_and_no_more(redis: Redis) -> None:
    buckets = TokenBuckets(redis)
    given_out = [buckets.take("k", 5) for _ in range(7)]
    assert [standing.allowed for standing in given_out] == [True] * 5 + [False] * 2
    assert [standing.remaining for standing in given_out] == [4, 3, 2, 1, 0, 0, 0]
    assert 1 <= given_out[-1].retry_after <= 12
    assert 50 < given_out[-1].full_in <= 60
    assert buckets.take("another", 5).allowed
    assert 0 < redis.pttl("tf:rate:k") <= 60_000


def test_a_clock_that_was_set_back_closes_nothing_for_long(redis: Redis) -> None:
    redis.set("tf:rate:k", str(START * 2))
    assert TokenBuckets(redis).take("k", 60).retry_after <= 1
