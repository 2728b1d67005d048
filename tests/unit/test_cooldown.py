"""How long an agent waits after a provider has asked for it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from starlings.agents.cooldown import LONGEST_S, Cooldown
from starlings.agents.registry import Registry
from starlings.messages import AgentCooldown, TransientError, error_info


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def said(for_s: float, reason: str = "slow down") -> AgentCooldown:
    return AgentCooldown(agent="math", for_s=for_s, reason=reason)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_lasts_as_long_as_said_from_when_it_was_heard(clock):
    cooldown = Cooldown(monotonic=clock)
    assert cooldown.remaining_s == 0
    assert cooldown.hear(said(20))
    clock.now += 15
    assert cooldown.remaining_s == 5
    clock.now += 6
    assert cooldown.remaining_s == 0


@pytest.mark.parametrize("for_s", [601, 1e9, 1e300])
def test_nobody_can_ask_for_more_than_ten_minutes(clock, for_s):
    cooldown = Cooldown(monotonic=clock)
    cooldown.hear(said(for_s))
    assert cooldown.remaining_s == LONGEST_S


@pytest.mark.parametrize("for_s", [0, -5, float("inf"), float("nan")])
def test_what_is_no_duration_is_no_message(for_s):
    with pytest.raises(ValidationError):
        said(for_s)


def test_an_old_one_counts_for_the_rest_and_one_from_the_future_for_no_more_than_it_says(clock):
    cooldown = Cooldown(monotonic=clock)
    assert not cooldown.hear(said(20), age_s=25)
    assert cooldown.hear(said(20), age_s=15)
    assert cooldown.remaining_s == 5
    assert cooldown.hear(said(20), age_s=-1e9)
    assert cooldown.remaining_s == 20


def test_the_longest_wait_counts_and_a_shorter_one_takes_nothing_from_it(clock):
    cooldown = Cooldown(monotonic=clock)
    cooldown.hear(said(60, "the first"))
    assert not cooldown.hear(said(5, "the second"))
    assert (cooldown.remaining_s, cooldown.reason) == (60, "the first")


def test_the_registry_tells_who_cools_down(clock):
    wall = Clock()
    registry = Registry(monotonic=clock, wall=wall)
    registry.cool(said(30), sent_ms=int((wall.now - 10) * 1000))
    assert registry.cooldown("math").remaining_s == 20
    assert registry.cooldown("string") is None
    clock.now += 20
    assert registry.cooldown("math") is None


def test_an_error_carries_along_that_everybody_should_wait():
    info = error_info(TransientError("slow down", cooldown=True, retry_after_s=3))
    assert (info.cooldown, info.retry_after_s) == (True, 3)
    assert not error_info(TransientError("slow down")).cooldown
