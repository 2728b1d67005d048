"""Recovery of the coordinator, checked over the real core with random worlds.

Coordinators crash between any two actions, zombies work beside their successors, messages of the
dead arrive late, agents and planners repeat themselves. What must hold is asserted in
`tests/support/recovery`: every run ends with one outcome; nothing is released before its
dependencies have settled in the log; max_parallel holds; one effect per attempt; a decision's id
always brings the same content; who recovers from `restore_from` knows what one that read the whole
log knows; a plan repeated within the look-back starts nothing.

STARLINGS_WORLDS=5000 runs more seeded worlds than the default, STARLINGS_MACHINES more of the
state machine's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from support.recovery.world import World

pytestmark = pytest.mark.timeout(600)  # much to compute, on a machine that may be busy

WORLDS = int(os.environ.get("STARLINGS_WORLDS", "280"))
MACHINES = int(os.environ.get("STARLINGS_MACHINES", "150"))
BATCH = 20
CHECK_EVERY = 250
LENGTH = 2_500
RUNS = [f"r{i}" for i in range(24)]
PICK = st.integers(0, 999)


# how often which action is chosen, in thousandths
ACTIONS: list[tuple[int, Callable[[World, int], object]]] = [
    (30, lambda world, pick: world.plan(RUNS[pick % len(RUNS)])),
    (5, lambda world, pick: world.cancel(RUNS[pick % len(RUNS)])),
    (20, lambda world, pick: world.word(RUNS[pick % len(RUNS)], pick)),
    (60, lambda world, pick: world.retry(RUNS[pick % len(RUNS)], pick)),
    (65, lambda world, _: world.take_work()),
    (80, World.finish_work),
    (40, World.plan_anew),
    (10, World.late_result),
    (30, World.sign_of_life),
    (15, World.crash),
    (10, lambda world, _: world.take_over()),
    (45, World.commit),
    (40, lambda world, pick: world.coordinator(pick).carry()),
    (30, lambda world, pick: world.coordinator(pick).answer()),
    (30, lambda world, pick: world.coordinator(pick).fire(world.now_ms)),
    (60, lambda world, pick: world.wait(pick * (10 if pick % 5 == 0 else 1))),
    (5, lambda world, _: world.land_ghost()),
    (185, World.land),
    (240, lambda world, pick: world.read(pick, pick % 4)),
]
CHOICES = [action for share, action in ACTIONS for _ in range(share)]


@pytest.mark.parametrize("batch", range(max(1, WORLDS // BATCH)))
def test_random_worlds_keep_every_promise_of_recovery(batch):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        live_through(seed)


def live_through(seed):
    """Let one world live; an error says which one it was."""
    world = World(seed)
    choose = Random(~seed)  # noqa: S311 - a world that can be told again
    try:
        for number in range(LENGTH):
            choose.choice(CHOICES)(world, choose.randrange(1_000))
            if number % CHECK_EVERY == 0:
                world.check_recovery()
        world.end_all()
    except AssertionError as error:
        error.add_note(f"world {seed}")
        raise
    return world


class RecoveryMachine(RuleBasedStateMachine):
    """The same actions in orders that Hypothesis chooses, and shrinks where one fails."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0)

    @rule(seed=PICK, count=st.integers(50, 400))
    def life_goes_on(self, seed: int, count: int) -> None:
        choose = Random(seed)  # noqa: S311 - a life that can be told again
        for _ in range(count):
            choose.choice(CHOICES)(self.world, choose.randrange(1_000))

    @rule(run=st.sampled_from(RUNS[:4]), seed=PICK)
    def somebody_plans(self, run: str, seed: int) -> None:
        self.world.rng.seed(seed)
        self.world.plan(run)

    @rule(run=st.sampled_from(RUNS[:4]))
    def somebody_cancels(self, run: str) -> None:
        self.world.cancel(run)

    @rule(run=st.sampled_from(RUNS[:4]), pick=PICK)
    def somebody_gives_a_word(self, run: str, pick: int) -> None:
        self.world.word(run, pick)

    @rule(run=st.sampled_from(RUNS[:4]), pick=PICK)
    def somebody_asks_a_run_to_go_on(self, run: str, pick: int) -> None:
        self.world.retry(run, pick)

    @rule(pick=PICK, count=st.integers(1, 9))
    def an_agent_works(self, pick: int, count: int) -> None:
        for _ in range(count):
            self.world.take_work()
            self.world.finish_work(pick)

    @rule(pick=PICK)
    def an_agent_gives_a_sign_of_life(self, pick: int) -> None:
        self.world.take_work()
        self.world.sign_of_life(pick)

    @rule(pick=PICK)
    def a_planner_plans_a_run_anew(self, pick: int) -> None:
        self.world.plan_anew(pick)

    @rule(pick=PICK)
    def a_result_arrives_late(self, pick: int) -> None:
        self.world.late_result(pick)

    @rule(ms=st.sampled_from((1, 999, 5_000, 25_000)))
    def time_passes(self, ms: int) -> None:
        self.world.wait(ms)

    @rule(pick=PICK, count=st.integers(1, 40))
    def a_coordinator_reads(self, pick: int, count: int) -> None:
        self.world.read(pick, count)

    @rule(pick=PICK, count=st.integers(1, 40))
    def messages_arrive(self, pick: int, count: int) -> None:
        for _ in range(count):
            self.world.land(pick)

    @rule()
    def a_message_of_the_dead_arrives(self) -> None:
        self.world.land_ghost()

    @rule(pick=PICK)
    def timers_fire(self, pick: int) -> None:
        self.world.coordinator(pick).fire(self.world.now_ms)

    @rule(pick=PICK)
    def old_runs_are_carried_forward(self, pick: int) -> None:
        self.world.coordinator(pick).carry()

    @rule(pick=PICK)
    def ends_are_said_again(self, pick: int) -> None:
        self.world.coordinator(pick).answer()

    @rule(pick=PICK)
    def a_coordinator_commits(self, pick: int) -> None:
        self.world.commit(pick)

    @rule(pick=PICK)
    def a_coordinator_dies(self, pick: int) -> None:
        self.world.crash(pick)

    @rule()
    def a_zombie_is_made(self) -> None:
        self.world.take_over()

    @rule()
    def recovery_is_compared(self) -> None:
        self.world.check_recovery()

    def teardown(self) -> None:
        self.world.end_all()


RecoveryMachine.TestCase.settings = settings(
    max_examples=MACHINES,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestRecoveryInEveryOrder = RecoveryMachine.TestCase
