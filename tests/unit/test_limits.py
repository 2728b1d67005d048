"""A limit that instances share over a log: never more at once, and a fair part for each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from starlings.agents.agent import Agent
from starlings.agents.limits import Limit, Share
from starlings.messages import AgentAlive, ConfigError


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A log, and instances that read it at their own pace."""

    at_once: int
    clock: Clock = field(default_factory=Clock)
    log: list[tuple[str, AgentAlive | None]] = field(default_factory=list)
    instances: dict[str, Instance] = field(default_factory=dict)

    start: int = 0

    def join(self, name: str, *, at_once: int | None = None) -> Instance:
        self.start += 10_000  # numbers of a successor are greater
        limit = Limit("p", at_once or self.at_once)
        instance = self.instances[name] = Instance(
            name, self, Share(limit, name, monotonic=self.clock)
        )
        instance.read_all()
        return instance

    def leave(self, name: str) -> None:
        del self.instances[name]
        self.log.append((name, None))

    @property
    def running(self) -> int:
        return sum(each.running for each in self.instances.values())

    def settle(self, rounds: int = 30) -> None:
        for _ in range(rounds):
            for each in self.instances.values():
                each.read_all()
                each.beat()


@dataclass
class Instance:
    name: str
    world: World
    share: Share
    running: int = 0
    read: int = 0
    beats: int = 0

    def read_one(self) -> None:
        if self.read == len(self.world.log):
            return
        name, beat = self.world.log[self.read]
        self.read += 1
        if beat is None:
            self.share.forget(name)
        else:
            self.share.hear(name, beat)
        self.share.review(self.running)

    def read_all(self) -> None:
        while self.read < len(self.world.log):
            self.read_one()
        self.share.review(self.running)

    def beat(self) -> None:
        self.beats += 1
        beat = AgentAlive(
            agent="a",
            instance=self.name,
            number=self.world.start + self.beats,
            limits={"p": self.share.limit.at_once},
            holds={"p": self.share.promise(self.world.start + self.beats)},
        )
        self.world.log.append((self.name, beat))

    def start(self) -> None:
        self.running += self.running < self.share.allowed

    def end(self) -> None:
        self.running = max(self.running - 1, 0)
        self.share.review(self.running)


@pytest.mark.parametrize("seed", range(25))
def test_at_no_time_more_are_at_work_whoever_comes_goes_and_reads_late(seed):
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    world = World(at_once=chance.randint(1, 7))
    joined = 0
    for _ in range(1_500):
        names = list(world.instances)
        if not names or (len(names) < 6 and chance.random() < 0.02):
            world.join(f"i{chance.randint(0, 9)}{joined}").beat()
            joined += 1
            continue
        one = world.instances[chance.choice(names)]
        if one.running == 0 and chance.random() < 0.02:
            world.leave(one.name)
            continue
        chance.choice([one.read_one, one.read_one, one.beat, one.start, one.start, one.end])()
        assert world.running <= world.at_once


@pytest.mark.parametrize(("at_once", "count"), [(5, 2), (5, 1), (3, 3), (2, 5), (7, 3)])
def test_all_of_it_is_shared_out_evenly(at_once, count):
    world = World(at_once)
    for number in range(count):
        world.join(f"i{number}")
    world.settle()
    allowed = [each.share.allowed for each in world.instances.values()]
    assert sum(allowed) == at_once
    assert max(allowed) - min(allowed) <= 1
    assert allowed == [each.share.fair for each in world.instances.values()]


def test_a_newcomer_waits_for_what_the_others_have_at_work():
    world = World(4)
    first = world.join("a")
    world.settle()
    for _ in range(4):
        first.start()
    assert first.running == 4
    second = world.join("b")
    world.settle()
    assert (first.share.allowed, second.share.allowed) == (2, 0)
    first.end()
    world.settle()
    assert (first.share.allowed, second.share.allowed) == (2, 1)


def test_who_leaves_gives_its_part_back_and_who_is_silent_loses_it_after_three_beats():
    world = World(4)
    first, _ = world.join("a"), world.join("b")
    world.settle()
    assert first.share.allowed == 2
    first.read_all()
    del world.instances["b"]  # killed
    world.clock.now += 14
    world.settle()
    assert first.share.allowed == 2
    world.clock.now += 2
    world.settle()
    assert first.share.allowed == 4
    world.join("c")
    world.settle()
    world.leave("c")
    world.settle()
    assert first.share.allowed == 4


def test_who_does_not_see_its_own_beats_starts_nothing_before_the_others_give_it_up():
    world = World(4)
    frozen = world.join("a")
    world.settle()
    assert frozen.share.allowed == 4
    world.clock.now += 10.1
    assert frozen.share.allowed == 0
    world.settle()
    assert frozen.share.allowed == 4


def test_a_restarted_instance_makes_no_use_of_what_its_predecessor_held():
    world = World(4)
    world.join("a")
    world.settle()
    again = world.join("a")
    assert again.share.allowed == 0
    world.settle()
    assert again.share.allowed == 4


def test_of_two_versions_the_smaller_number_counts():
    world = World(6)
    world.join("a")
    world.join("b", at_once=2)
    world.settle()
    assert [each.share.allowed for each in world.instances.values()] == [1, 1]


def test_others_that_do_not_name_the_limit_do_not_count_and_nonsense_is_bounded():
    world = World(3)
    one = world.join("a")
    world.log.append(("b", AgentAlive(agent="a", instance="b")))
    world.settle()
    assert one.share.allowed == 3
    world.log.append(("c", AgentAlive(agent="a", instance="c", limits={"p": -9}, holds={"p": -9})))
    world.settle()
    assert one.share.allowed == 1


@pytest.mark.parametrize(
    ("name", "at_once"), [("", 1), ("a b", 1), ("p", 0), ("p", True), ("p", 1.5)]
)
def test_a_limit_that_cannot_be_kept_is_refused(name, at_once):
    with pytest.raises(ConfigError):
        Limit(name, at_once)


def test_an_agent_names_a_limit_once():
    with pytest.raises(ConfigError, match="twice"):
        Agent("a", description="x", limits=[Limit("p", 1), Limit("p", 2)])
