"""When jobs and sensors are looked at: a schedule without a clock."""

from __future__ import annotations

import math

import pytest

from starlings.agents.polling import LONGEST_WAIT_S, Polling, share_of

POLLING = Polling(first_s=1.0, factor=2.0, most_s=10.0)


def test_intervals_grow_up_to_the_longest_and_stay_there():
    assert [POLLING.wait_s(looks) for looks in range(6)] == [1, 2, 4, 8, 10, 10]
    assert POLLING.wait_s(1_000_000) == 10


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(3.0, 3.0), (0.0, 0.0), (-1.0, 0.0), (1e12, LONGEST_WAIT_S), (math.nan, 2.0), (None, 2.0)],
)
def test_what_is_looked_at_may_ask_for_another_wait(asked, waited):
    assert POLLING.wait_s(1, retry_after_s=asked) == waited


def test_who_takes_over_goes_on_in_the_interval_that_fits_the_age():
    assert [POLLING.looks_by(age) for age in (0, 0.9, 1, 2.9, 3, 7, 15, 24.9)] == [
        0, 0, 1, 1, 2, 3, 4, 4,
    ]  # fmt: skip
    assert POLLING.looks_by(1e9) > 4


def test_a_takeover_of_thousands_is_spread_over_one_interval_always_in_the_same_way():
    keys = [f"r{n}/wait/1" for n in range(10_000)]

    waits = [POLLING.takeover_wait_s(key, age_s=3_600) for key in keys]

    assert waits == [POLLING.takeover_wait_s(key, age_s=3_600) for key in keys]
    in_seconds = [sum(second <= wait < second + 1 for wait in waits) for second in range(10)]
    assert sum(in_seconds) == 10_000
    assert max(in_seconds) < 1_200  # a herd would be all of them in one
    assert 0 <= min(map(share_of, keys)) < 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        Polling(first_s=0),
        Polling(first_s=math.nan),
        Polling(most_s=math.inf),
        Polling(factor=0.5),
        Polling(factor=1000),
        Polling(first_s=10, most_s=5),
        Polling(first_s=1e6, most_s=1e6),
    ],
)
def test_what_cannot_be_kept_is_said(wrong):
    assert wrong.problem()
    assert POLLING.problem() is None
