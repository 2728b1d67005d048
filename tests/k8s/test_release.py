"""The chart on a cluster: it runs a request; upgrades and crashes lose and double nothing."""

from __future__ import annotations

import asyncio

import pytest
from support.chaos.agent import whoami
from support.k8s.release import NAME, now_s
from support.waiting import wait_until

from starlings.cli.demo import REQUEST
from starlings.messages import RunOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480, func_only=True)]

ANSWERED_WITHIN_S = 60
ROLLED = ("coordinator", "planner", "agent-math", "agent-south")
FORGOTTEN_AFTER_S = 15.0  # a dead member of a group: its session timeout, and the rebalance


async def test_the_request_of_the_demo_runs_through_the_images(release, installation):
    async with installation.client() as client:
        run = await client.submit(REQUEST)
        done = await run.result(timeout_s=ANSWERED_WITHIN_S)
    assert done.outcome is RunOutcome.COMPLETED, done
    assert {step.agent for step in done.steps} == {"math", "string"}
    assert "100" in done.model_dump_json()


def test_the_chart_s_own_test_finds_nothing_wrong(release):
    assert "Succeeded" in release.cluster.helm("test", NAME, "--timeout", "60s", within_s=90)


async def test_an_upgrade_under_load_loses_and_doubles_nothing(release, load, tmp_path, capsys):
    before = _uids(release)
    values = release.values()
    values["defaults"]["podAnnotations"] = {"example.org/turn": load.name}
    rolling = load.blow("upgrade", "agents")
    async with load.going_on():
        await load.more_asked(5)
        await asyncio.to_thread(release.install, values)
        rolling.until_s = now_s()
    await load.settled()
    findings = await load.audit(tmp_path)
    with capsys.disabled():
        print(f"\nupgrade under load: {load.figures()}")
    assert not findings, "\n".join(map(str, findings))
    assert not before & _uids(release), "some pods were not replaced"


async def test_killed_pods_lose_nothing_and_double_only_what_they_were_at(
    release, load, tmp_path, capsys
):
    async with load.going_on(width=6):
        await load.more_asked(5)
        for program in ("agent-north", "coordinator"):
            await wait_until(
                lambda program=program: release.pods(program),
                timeout_s=60,
                message=f"{program} has a pod",
            )
            name = await asyncio.to_thread(release.kill, release.pods(program)[0])
            killed = load.blow("kill", program, pid=whoami(name))
            killed.until_s += FORGOTTEN_AFTER_S
        await load.more_asked(4)  # of those that are left, or come in their place
    await load.settled()
    findings = await load.audit(tmp_path)
    with capsys.disabled():
        print(f"\nkilled pods: {load.figures()}")
    assert not findings, "\n".join(map(str, findings))


def _uids(release):
    return {pod["metadata"]["uid"] for program in ROLLED for pod in release.pods(program)}
