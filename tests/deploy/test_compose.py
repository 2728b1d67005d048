"""The compose file: images that `make images` builds, told only what the programs read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from images.catalog import all_images, version
from starlings.agents.service import AgentSettings
from starlings.broker import VERSION
from starlings.kafka.settings import KafkaSettings
from starlings.llm.settings import LlmSettings
from starlings.service import variable_name
from starlings.telemetry import TelemetrySettings
from starlings_coordinator.settings import CoordinatorSettings
from starlings_planner.settings import PlannerSettings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "docker" / "compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text("utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "kafka"}
LASTING = {name: service for name, service in OURS.items() if name != "topics"}
IMAGES = all_images(ROOT)


def read_by(name: str) -> set[str]:
    """Give the variables that a service's program reads."""
    own = {"planner": PlannerSettings, "coordinator": CoordinatorSettings}.get(name, AgentSettings)
    models = [] if name == "coordinator" else [LlmSettings]
    kinds = [own, KafkaSettings, TelemetrySettings, *models]
    return {variable_name(kind, field) for kind in kinds for field in kind.model_fields}


@pytest.mark.parametrize("name", LASTING)
def test_a_program_is_told_nothing_that_it_does_not_read(name):
    assert set(LASTING[name]["environment"]) <= read_by(name)


@pytest.mark.parametrize("name", LASTING)
def test_every_program_is_closed_in_and_probed(name):
    service = LASTING[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
    assert service["cap_drop"] == ["ALL"]
    assert "/readyz" in service["healthcheck"]["test"][-1]
    grace = AgentSettings.model_fields["grace_s"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > grace
    assert service["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", OURS)
def test_it_names_the_images_of_this_checkout(name):
    service = OURS[name]
    found = re.fullmatch(r"starlings-(.+):\$\{STARLINGS_TAG:-(.+)\}", service["image"])
    assert found
    image = IMAGES[found[1]]
    assert found[2] == version(ROOT)
    if "build" in service:
        assert service["build"]["dockerfile"] == image.dockerfile
        wanted = {key: value for key, value in image.arguments.items() if value}
        assert service["build"].get("args", {}) == wanted


def test_the_topics_of_its_agents_are_made_before_anything_starts():
    agents = {
        service["build"]["args"]["AGENT"]
        for name, service in OURS.items()
        if name.startswith("agent-")
    }
    command = OURS["topics"]["command"]
    assert OURS["topics"]["entrypoint"] == ["starlings"]
    assert command[:2] == ["topics", "ensure"]
    assert agents == set(command[3::2])
    assert OURS["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_kafka_is_the_one_that_everything_is_tested_with_and_is_reached_where_programs_look():
    kafka = SERVICES["kafka"]
    assert kafka["image"] == f"apache/kafka:{VERSION}"
    advertised = kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    bootstrap = OURS["planner"]["environment"]["KAFKA_BOOTSTRAP"]
    assert f"INTERNAL://{bootstrap}" in advertised
    assert f"HOST://{KafkaSettings.model_fields['bootstrap'].default}" in advertised


def test_large_values_lie_where_every_program_sees_them():
    for service in LASTING.values():
        folder = service["environment"]["STARLINGS_BLOBS_URL"].removeprefix("file://")
        assert service["volumes"] == [f"blobs:{folder}"]
        for path in (ROOT / "deploy" / "docker").glob("*.Dockerfile"):
            assert f"chown 10001:10001 {folder}" in path.read_text("utf-8")


if os.environ.get("STARLINGS_TEST_IMAGE_ENGINE") == "docker":

    def test_compose_itself_takes_the_file():
        line = ["docker", "compose", "--file", str(FILE), "config", "--quiet"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
