"""An agent of one's own: its image is built as its author builds it, and told by three lines."""

from __future__ import annotations

import os

import pytest
import yaml
from support.k8s.images import THERE
from support.k8s.own_agent import NAME, build_own_agent

from starlings.messages import RunOutcome

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480, func_only=True),
    pytest.mark.skipif(THERE in os.environ, reason=f"{THERE} is set, so that nothing is built"),
]


@pytest.fixture
def own_agent(release, images, tmp_path):
    """The agent, added to the release that runs, and taken out of it."""
    built = build_own_agent(tmp_path / NAME, images)
    values = release.values()
    values["agents"] |= built.values()["agents"]
    release.install(values)
    yield built
    release.install()


async def test_an_agent_of_ones_own_runs_in_its_own_image(release, installation, own_agent):
    (pod,) = release.pods(f"agent-{NAME}")
    assert pod["spec"]["containers"][0]["image"] == own_agent.image
    plan = yaml.safe_load((own_agent.folder / "plan.yaml").read_text())
    async with installation.client() as client:
        run = await client.submit("Two seats", plan=plan)
        done = await run.result(timeout_s=60)
    assert done.outcome is RunOutcome.COMPLETED, done
    assert [step.agent for step in done.steps] == [NAME]
