"""Limits that instances share: at most so many steps at once, wherever they run.

Nobody hands out permits: each instance says in its heartbeats on `agents` how many steps under a
limit it may have at work (what it *holds*), and follows what all others say. The topic has one
partition, so all read the same order, and that order decides:

- What is given up is given up first, and said then. What is wanted is said first, and used only
  when the record has come back and, at its place in the log, all that is held together is no more
  than `at_once`. Of two who reach for the same room, the later one sees that there is none.
- A record that comes back counts for no more than what was said after it: those words are on their
  way, and others act on them.
- Who runs more than its share (others have come) starts nothing, says what it still runs, and
  gives the rest away step by step.
- An instance that does not see its own heartbeats for two intervals starts nothing; one that is
  not seen for three is counted no more. A record's age is judged on the reader's own clock.

So what is held is never more than `at_once`; the one exception is an instance that the others have
given up although it lives (frozen, or cut off from Kafka): what it has at work goes on beside what
they start in its place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlings.messages import AgentAlive
from starlings.messages.base import ID_PATTERN

from .registry import MISSED_BEATS
from .signatures import agent_error

FRESH_BEATS = 2
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `at_once` steps at once, over all instances of all agents that name it."""

    name: str
    at_once: int

    def __post_init__(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            ConfigError: saying what is wrong with it.
        """
        if not isinstance(self.name, str) or not re.fullmatch(ID_PATTERN, self.name):
            raise agent_error(
                f"the limit {self.name!r} needs a name of letters, digits, '.', '_', ':' and '-'"
            )
        whole = isinstance(self.at_once, int) and not isinstance(self.at_once, bool)
        if not whole or self.at_once < 1:
            raise agent_error(f"limit {self.name!r}: at_once has to be a whole number from 1 on")


@dataclass(slots=True)
class _Member:
    """What another instance has said last."""

    at_once: int
    holds: int
    seen: float
    interval_s: float

    def alive(self, now: float) -> bool:
        return now - self.seen <= self.interval_s * MISSED_BEATS


class Share:
    """One instance's part of one limit, as the log tells it."""

    def __init__(
        self, limit: Limit, me: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._me = me
        self._monotonic = monotonic
        self._others: dict[str, _Member] = {}
        self._granted = 0
        self._confirmed = NEVER
        self._interval_s = 5.0
        self._promised: dict[int, int] = {}  # by heartbeat, until it comes back
        self.holds = 0  # what the next heartbeat says

    @property
    def allowed(self) -> int:
        """How many steps this instance may have at work."""
        fresh = self._monotonic() - self._confirmed <= self._interval_s * FRESH_BEATS
        return self._granted if fresh else 0

    @property
    def fair(self) -> int:
        """How many would be its part, with the instances that live now."""
        others = self._living()
        at_once = self._at_once(others)
        rank = sum(name < self._me for name in others)
        return at_once // (len(others) + 1) + (rank < at_once % (len(others) + 1))

    def promise(self, number: int) -> int:
        """Say what this instance holds, with the heartbeat of that number."""
        self._promised[number] = self.holds
        return self.holds

    def hear(self, member: str, beat: AgentAlive, *, age_s: float = 0.0) -> None:
        """Take a heartbeat in, at its place in the log; that of this instance is a confirmation."""
        seen = self._monotonic() - max(age_s, 0.0)
        holds = max(beat.holds.get(self.limit.name, 0), 0)
        if member == self._me:
            self._confirm(beat.number, seen, beat.interval_s)
        elif self.limit.name in beat.limits:
            at_once = max(beat.limits[self.limit.name], 1)
            self._others[member] = _Member(at_once, holds, seen, beat.interval_s)
        else:
            self._others.pop(member, None)

    def forget(self, member: str) -> None:
        """Hear that an instance has left."""
        self._others.pop(member, None)

    def review(self, running: int) -> bool:
        """Settle what to hold from now on; say whether the others have to hear of it."""
        before, others = self.holds, self._living()
        fair = self.fair
        self._granted = min(self._granted, fair)
        room = self._at_once(others) - sum(other.holds for other in others.values())
        self.holds = max(self._granted, running, min(fair, room))
        return self.holds != before

    def _confirm(self, number: int, seen: float, interval_s: float) -> None:
        holds = self._promised.get(number)
        if holds is None:
            return  # of a predecessor with the same name
        self._promised = {n: said for n, said in self._promised.items() if n > number}
        others = self._living()
        room = self._at_once(others) - sum(other.holds for other in others.values())
        granted = holds if holds <= room else min(self._granted, max(room, 0))
        self._granted = min([granted, self.holds, *self._promised.values()])
        self._confirmed, self._interval_s = seen, interval_s

    def _living(self) -> dict[str, _Member]:
        now = self._monotonic()
        return {name: other for name, other in self._others.items() if other.alive(now)}

    def _at_once(self, others: dict[str, _Member]) -> int:
        """Take the smallest where instances of two versions say different numbers."""
        return min([self.limit.at_once, *(other.at_once for other in others.values())])
