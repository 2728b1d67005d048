"""What is wrong with an installation is said where people look: by Helm, or in a pod's log."""

from __future__ import annotations

import json

import pytest
import yaml
from support.helm import CHART, RefusedError
from support.k8s.release import NAME
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480, func_only=True)]

NOWHERE = "kafka.nowhere.invalid:9092"


def install(release, name, values):
    words = ["install", name, str(CHART), "--values", "-"]
    return release.cluster.helm(*words, told=yaml.safe_dump(values))


@pytest.fixture
def lost(release):
    """A release that looks for Kafka where there is none."""
    values = release.values()
    values["kafka"]["bootstrapServers"] = NOWHERE
    values["topics"] |= {"prefix": "lost.", "provision": "none"}
    values["agents"] = {"math": {}}
    install(release, "lost", values)
    yield "lost-starlings"
    release.cluster.helm("uninstall", "lost")


async def test_a_wrong_address_of_kafka_is_one_line_in_the_log_of_each_pod(release, lost):
    for program in ("planner", "coordinator", "agent-math"):
        line = await wait_until(
            lambda program=program: complaint_of(release, f"deployment/{lost}-{program}"),
            timeout_s=90,
            message=f"{program} says what is wrong",
        )
        assert line["bootstrap"] == NOWHERE, line
        assert "'kafka.nowhere.invalid' cannot be resolved" in line["reason"], line


def complaint_of(release, deployment):
    """Give the line of a pod's log that says so; every line of it is whole by itself."""
    try:
        said = release.cluster.kubectl("logs", deployment)
    except RefusedError:  # it has not begun yet
        return None
    lines = [json.loads(line) for line in said.splitlines()]
    return next((line for line in lines if line["event"] == "waiting for Kafka"), None)


def test_another_release_with_the_same_prefix_is_refused(release):
    with pytest.raises(RefusedError, match=f"topics.prefix: the release .{NAME}"):
        install(release, "second", release.values())


def test_a_secret_that_is_not_there_is_named(release):
    values = release.values()
    values["topics"]["prefix"] = "other."
    values["openai"] = {"existingSecret": "no-such-secret"}
    with pytest.raises(RefusedError, match=r"openai\.existingSecret: there is no Secret"):
        install(release, "second", values)
