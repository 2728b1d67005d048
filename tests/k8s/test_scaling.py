"""Each agent is scaled by the lag of its own consumer group, and loses and doubles nothing."""

from __future__ import annotations

import pytest
from support.k8s.watch import Watch
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480, func_only=True)]

RUNS, WIDTH = 3, 40
OTHERS = ("math", "string", "south")


async def test_replicas_of_one_agent_follow_its_lag_from_zero_and_back(
    release, load, tmp_path, capsys
):
    await release.wait_replicas("agent-north", 0, timeout_s=240)
    others = _names(release)
    watch = Watch(release, load, "north")
    scaling = load.blow("scale", "agent north")
    async with watch.looking():
        for _ in range(RUNS):
            await load.crowd(WIDTH)
        await load.settled()
        await release.wait_replicas("agent-north", 0, timeout_s=240)
        await wait_until(
            lambda: watch.samples[-1][1:] == (0, 0, 0, 0),
            timeout_s=60,
            message="the last pod is gone",
        )
    scaling.until_s = scaling.at_s + watch.samples[-1].at_s
    findings = await load.audit(tmp_path)
    with capsys.disabled():
        print(f"\n{watch.table()}\n{load.figures()}")
    assert not findings, "\n".join(map(str, findings))
    assert watch.samples[0].ready == 0
    assert watch.peak >= 2
    assert max(sample.lag for sample in watch.samples) >= RUNS * WIDTH // 2
    assert _names(release) == others


def _names(release):
    """Name the pods of the agents that have nothing to do with it."""
    return {pod["metadata"]["name"] for name in OTHERS for pod in release.pods(f"agent-{name}")}
