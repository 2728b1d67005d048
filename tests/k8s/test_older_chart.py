"""What an older chart installed becomes today's release, in place."""

from __future__ import annotations

import pytest
import yaml
from support.helm import CHART
from support.k8s.release import INSTALLED_WITHIN_S, SCALING, SMALL
from support.older_charts import OLDER
from support.services import Services

from starlings.messages import RunOutcome, Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480, func_only=True)]

NAME, PREFIX = "older", "older."
PROGRAMS = ("planner", "coordinator", "agent-math", "agent-string")
WAIT = ("--wait", "--timeout", f"{INSTALLED_WITHIN_S}s")
SUM = [{"id": "sum", "agent": "math", "tool": "add", "args": {"a": 2, "b": 3}}]


@pytest.fixture(params=OLDER, ids=lambda path: path.stem)
def older(request, release):
    """The values of a release that an older chart installed."""
    values = release.values()
    values |= {
        "topics": values["topics"] | {"prefix": PREFIX},
        "defaults": {"resources": SMALL},
        "coordinator": {"replicas": 1},
        "agents": {"math": {}, "string": {"autoscaling": SCALING | {"minReplicas": 1}}},
    }
    _helm(release, "install", NAME, str(request.param), values)
    yield values
    release.cluster.helm("uninstall", NAME, "--wait", "--timeout", "90s", within_s=120)


async def test_an_upgrade_from_an_older_chart_changes_what_runs_in_place(release, older, tmp_path):
    services = Services({"KAFKA_BOOTSTRAP": release.bootstrap}, Topics(PREFIX), tmp_path)
    before = {name: _uid(release, name) for name in PROGRAMS}
    async with services.client() as client:
        await _add(client)
        _helm(release, "upgrade", NAME, str(CHART), older)
        await _add(client)
    assert {name: _uid(release, name) for name in PROGRAMS} == before, "made anew, not changed"
    assert "Succeeded" in release.cluster.helm("test", NAME, within_s=90)


async def _add(client):
    run = await client.submit("Two and three", plan=SUM)
    done = await run.result(timeout_s=60)
    assert done.outcome is RunOutcome.COMPLETED, done


def _helm(release, verb, name, chart, values):
    words = [verb, name, chart, "--values", "-", *WAIT]
    release.cluster.helm(*words, within_s=INSTALLED_WITHIN_S + 30, told=yaml.safe_dump(values))


def _uid(release, program):
    found = release.cluster.get("deployment", f"{NAME}-starlings-{program}")
    return found["metadata"]["uid"]
