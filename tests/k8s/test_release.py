"""The chart on a cluster: it runs a request, and its own test finds nothing wrong."""

from __future__ import annotations

import pytest
from support.k8s.release import NAME

from starlings.cli.demo import REQUEST
from starlings.messages import RunOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

ANSWERED_WITHIN_S = 60


async def test_the_request_of_the_demo_runs_through_the_images(release, installation):
    async with installation.client() as client:
        run = await client.submit(REQUEST)
        done = await run.result(timeout_s=ANSWERED_WITHIN_S)
    assert done.outcome is RunOutcome.COMPLETED, done
    assert {step.agent for step in done.steps} == {"math", "string"}
    assert "100" in done.model_dump_json()


def test_the_chart_s_own_test_finds_nothing_wrong(release):
    assert "Succeeded" in release.cluster.helm("test", NAME, "--timeout", "60s", within_s=90)
