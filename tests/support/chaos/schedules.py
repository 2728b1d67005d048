"""The scenarios: which blows fall, on whom, and when.

A schedule is made beforehand from the seed and the scenario's name alone; `--list` prints it. Same
seed, same blows at the same times of the same load. What the system is doing at such a moment is
not ours to decide: that is what many seeds are for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

SERVICES = ("planner", "coordinator", "agent")


class Act(NamedTuple):
    """One thing to do, not before its time, and after the one before it."""

    at_s: float
    verb: str  # a method of the stage
    victim: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        """Write it as a line of a schedule."""
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.at_s:6.2f} s  {self.verb} {self.victim}{amount}".rstrip()


Schedule = list[Act]


@dataclass(frozen=True)
class Size:
    """How much of everything: all of it, or as much as fits into a test."""

    rounds: int = 3
    pace_s: float = 0.25  # between two requests
    session_s: float = 6.0  # of coordinators: the lowest that brokers allow by default
    outage_s: float = 5.0
    crowd: int = 100
    crowd_pause_s: float = 10.0


FULL = Size()
BOUNDED = Size(rounds=1, session_s=2.0, outage_s=3.0, crowd=20, crowd_pause_s=3.0)


@dataclass(frozen=True)
class Scenario:
    """A kind of trouble."""

    name: str
    what: str
    schedule: Callable[[random.Random, Size], Schedule]
    programs: tuple[str, ...] = SERVICES
    seated: bool = False  # services are static members: each comes back as who it was
    skewable: bool = False  # services have a wall clock that can be put forward and back


def dice(seed: int, name: str) -> random.Random:
    """Give the chance that decides about one scenario."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - to be the same every time


def _times(rng: random.Random, size: Size, every_s: float) -> list[float]:
    """Choose a moment for each round."""
    return [round(1 + n * every_s + rng.uniform(0, every_s / 3), 2) for n in range(size.rounds)]


def _killed(victim: str) -> Callable[[random.Random, Size], Schedule]:
    def schedule(rng: random.Random, size: Size) -> Schedule:
        acts = []
        for at_s in _times(rng, size, 3.0):
            again_s = round(at_s + rng.uniform(0, 1), 2)
            acts += [Act(at_s, "kill", victim), Act(again_s, "start", victim)]
        return acts

    return schedule


def _broker_killed(rng: random.Random, size: Size) -> Schedule:
    acts = []
    for at_s in _times(rng, size, 12.0)[:2]:
        away_s = round(rng.uniform(0.5, size.outage_s), 2)
        acts.append(Act(at_s, "kill_broker", amount=away_s))
    return acts


def _broker_paused(rng: random.Random, size: Size) -> Schedule:
    times = _times(rng, size, size.outage_s + 3)
    return [Act(at_s, "freeze_broker", amount=size.outage_s) for at_s in times]


def _zombie(rng: random.Random, size: Size) -> Schedule:
    """Freeze the coordinator; a second one takes over; then both believe that they own the log."""
    acts = [Act(0.5, "start", "coordinator")]
    for n, at_s in enumerate(_times(rng, size, 2 * size.session_s)[:2]):
        victim = ("coordinator", "coordinator-2")[n % 2]
        frozen_s = round(size.session_s * rng.uniform(1.5, 2), 2)
        acts.append(Act(at_s, "freeze", victim, frozen_s))
    return acts


def _rolling(rng: random.Random, size: Size) -> Schedule:
    acts = [Act(0.5, "start", "coordinator"), Act(0.5, "start", "agent")]
    everybody = ["planner", "coordinator", "coordinator-2", "agent", "agent-2"]
    for at_s in _times(rng, size, 10.0)[:2]:
        rng.shuffle(everybody)
        for n, victim in enumerate(everybody):
            acts.append(Act(round(at_s + n, 2), "restart", victim))
    return acts


def _scaled(rng: random.Random, size: Size) -> Schedule:
    """Scale out and in; more is asked for on the way, for starting a process may take long."""
    pause_s = size.crowd_pause_s
    away = ["agent", "agent-2", "agent-3"]
    rng.shuffle(away)
    return [
        Act(0.0, "crowd", amount=size.crowd),
        Act(0.2, "start", "agent"),
        Act(0.3, "crowd", amount=size.crowd // 2),
        Act(0.3, "start", "agent"),
        Act(0.4, "crowd", amount=size.crowd // 2),
        Act(round(pause_s * rng.uniform(0.4, 0.6), 2), "stop", away[0]),
        Act(round(pause_s * rng.uniform(0.6, 0.8), 2), "stop", away[1]),
    ]


def _clocks(rng: random.Random, size: Size) -> Schedule:
    """Put clocks forward and back, by less than the timeouts of the steps, and right again."""
    acts = []
    for at_s in _times(rng, size, 5.0):
        victim = rng.choice(SERVICES)
        off_s = rng.choice((rng.uniform(60, 300), -rng.uniform(2, 10)))
        acts.append(Act(at_s, "skew", victim, round(off_s, 1)))
        acts.append(Act(round(at_s + rng.uniform(2, 4), 2), "skew", victim, 0.0))
    return acts


def _repeated(rng: random.Random, size: Size) -> Schedule:
    return [
        Act(round(at_s, 2), "repeat", topic, 60)
        for at_s in _times(rng, size, 4.0)
        for topic in rng.sample(("requests", "steps", "events"), 3)
    ]


def _killed_in_recovery(rng: random.Random, size: Size) -> Schedule:
    return [
        act
        for at_s in _times(rng, size, 10.0)[:2]
        for act in (
            Act(at_s, "kill", "coordinator"),
            Act(at_s, "kill_at_word", "assigned", round(rng.uniform(0, 0.02), 3)),
            Act(at_s, "kill_at_word", "recovered", round(rng.uniform(0, 0.02), 3)),
            Act(at_s, "start", "coordinator"),
        )
    ]


def _cancels(rng: random.Random, size: Size) -> Schedule:
    """Cancel runs again and again, and kill who should see to it."""
    acts: Schedule = []
    for at_s in _times(rng, size, 6.0):
        victim = rng.choice(("coordinator", "agent"))
        acts += [Act(round(at_s + n / 2, 2), "cancel", amount=3) for n in range(3)]
        acts += [Act(round(at_s + 1, 2), "kill", victim), Act(round(at_s + 1, 2), "start", victim)]
    return acts


def _seats(rng: random.Random, size: Size) -> Schedule:
    acts: Schedule = []
    for at_s in _times(rng, size, 5.0):
        for n, victim in enumerate(rng.sample(SERVICES, len(SERVICES))):
            killed_s = round(at_s + n, 2)
            acts += [Act(killed_s, "kill", victim), Act(killed_s, "start", victim)]
    return acts


def _storm(rng: random.Random, size: Size) -> Schedule:
    """A little of everything, that a broker shared with others can bear."""
    victims = [*SERVICES]
    rng.shuffle(victims)
    acts: Schedule = []
    for n, victim in enumerate(victims * size.rounds):
        at_s = round(1 + 2 * n + rng.uniform(0, 1), 2)
        acts += [Act(at_s, "kill", victim), Act(round(at_s + 0.2, 2), "start", victim)]
        acts.append(Act(round(at_s + 0.5, 2), "repeat", rng.choice(("requests", "steps")), 20))
    return acts


SCENARIOS = (
    Scenario("planner", "kill -9 of the planner", _killed("planner")),
    Scenario("coordinator", "kill -9 of the coordinator", _killed("coordinator")),
    Scenario("agent", "kill -9 of the agents", _killed("agent")),
    Scenario("broker", "kill -9 of the broker", _broker_killed),
    Scenario(
        "recovery", "kill -9 of the coordinator, twice while it recovers", _killed_in_recovery
    ),
    Scenario("zombie", "a coordinator frozen for longer than its session, then woken", _zombie),
    Scenario("seats", "kill -9 of static members, one after the other", _seats, seated=True),
    Scenario("rolling", "everything stopped and started again, one by one", _rolling),
    Scenario("scaling", "agents scaled 1 → 3 → 1 with long steps in flight", _scaled),
    Scenario("pauses", "the broker frozen for seconds", _broker_paused),
    Scenario("clocks", "wall clocks of services put forward and back", _clocks, skewable=True),
    Scenario("cancels", "runs cancelled while coordinators and agents are killed", _cancels),
    Scenario("repeats", "recorded messages delivered again, byte for byte", _repeated),
    Scenario("storm", "a little of everything", _storm),
)
