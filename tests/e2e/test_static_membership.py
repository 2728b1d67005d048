"""Static membership with real processes: restarts in place disturb nobody, and nobody is fought."""

from __future__ import annotations

import pytest
from support.asking import SLOW, slow, times_done
from support.waiting import wait_until_sync

from starlings.messages import RunOutcome, StepDone, attempt_id

pytestmark = pytest.mark.kafka

LONG = {"STARLINGS_SESSION_TIMEOUT_S": "120"}  # so that nothing here waits for a session's end
STATIC = {**LONG, "STARLINGS_STATIC_MEMBERSHIP": "true"}
RUNS, LENGTH = 20, 12


def seat(name: str) -> dict[str, str]:
    return {**STATIC, "STARLINGS_INSTANCE": name}


def assignments(services, name: str) -> int:
    return services.log(name).count("partitions assigned")


async def test_a_killed_agent_and_a_killed_coordinator_go_on_in_their_seats(services):
    programs = {"c0": "coordinator", "c1": "coordinator", "a0": SLOW, "a1": SLOW}
    names = {name: services.spawn(program, env=seat(name)) for name, program in programs.items()}
    services.wait_ready(services.spawn("planner", env=LONG), *names.values())
    before = {other: assignments(services, names[other]) for other in ("c1", "a1")}
    plan = [slow("s0"), *(slow(f"s{n}", f"s{n - 1}", pause_s=0.1) for n in range(1, LENGTH))]
    async with services.client() as client:
        runs = [await client.submit(plan=plan) for _ in range(RUNS)]
        wait_until_sync(
            lambda: len(times_done(services)) > RUNS, timeout_s=60, message="all are under way"
        )
        for victim in ("c0", "a0"):
            services.kill(names[victim])
            services.spawn(programs[victim], env=seat(victim))
        ends = [await run.result(timeout_s=120) for run in runs]  # far less than a session

    assert {done.outcome for done in ends} == {RunOutcome.COMPLETED}
    after = {other: assignments(services, names[other]) for other in ("c1", "a1")}
    assert after == before  # undisturbed


async def test_the_earlier_of_two_processes_with_one_name_ends_with_exit_2(services):
    (agent,) = services.start("coordinator", "planner", SLOW, env=seat("same"))[2:]
    services.start(SLOW, env=seat("same"))
    assert services.wait_end(agent) == 2
    *_, last = services.log(agent).splitlines()
    assert last.startswith("agent-slow: STARLINGS_INSTANCE=same: two processes use one"), last
    async with services.client() as client:
        run = await client.submit(plan=[slow("a")])
        done = await run.result(timeout_s=120)
    assert done.outcome is RunOutcome.COMPLETED


async def test_no_finished_step_of_a_killed_agent_is_done_again(services):
    services.start("coordinator", "planner", env={"STARLINGS_SESSION_TIMEOUT_S": "6"})
    (agent,) = services.start(SLOW, env={"STARLINGS_SESSION_TIMEOUT_S": "6"})
    plan = [slow("s0"), *(slow(f"s{n}", f"s{n - 1}") for n in range(1, LENGTH))]
    finished: dict[str, set[str]] = {}
    async with services.client() as client:
        runs = [await client.submit(plan=plan) for _ in range(RUNS)]
        wait_until_sync(
            lambda: len(times_done(services)) > RUNS * LENGTH // 4,
            timeout_s=60,
            message="well under way",
        )
        services.kill(agent)
        services.start(SLOW, env={"STARLINGS_SESSION_TIMEOUT_S": "6"})
        for run in runs:
            assert (await run.result(timeout_s=120)).outcome is RunOutcome.COMPLETED
            async for each in client.read_run(run.run_id, None, follow=False):
                if isinstance(each.message, StepDone):
                    finished.setdefault(each.message.instance, set()).add(each.envelope.id)
    before, after = finished.values()
    assert before & after == set()  # whose result was in the log, and who did it again
    twice = {
        attempt_id(run_id, step_id, 1, StepDone.NAME)
        for (run_id, step_id), times in times_done(services).items()
        if times > 1
    }
    assert twice.isdisjoint(before)
