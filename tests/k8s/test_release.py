"""The chart on a cluster: it runs a request; an upgrade loses and doubles nothing."""

from __future__ import annotations

import asyncio

import pytest
from support.k8s.release import NAME, now_s
from support.waiting import wait_until

from starlings.cli.demo import REQUEST
from starlings.messages import RunOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

ANSWERED_WITHIN_S = 60
ROLLED = ("coordinator", "planner", "agent-math", "agent-south")


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
        await wait_until(lambda: len(load.asked) > 4, timeout_s=60, message="work is under way")
        await asyncio.to_thread(release.install, values)
        rolling.until_s = now_s()
    await load.settled()
    findings = await load.audit(tmp_path)
    with capsys.disabled():
        print(f"\nupgrade under load: {load.figures()}")
    assert not findings, "\n".join(map(str, findings))
    assert not before & _uids(release), "some pods were not replaced"


def _uids(release):
    return {pod["metadata"]["uid"] for program in ROLLED for pod in release.pods(program)}
