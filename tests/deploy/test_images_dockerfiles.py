"""The images, as far as their Dockerfiles tell: who runs in them, on what, with which entry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.dockerfile import read_dockerfile

from images.catalog import LABEL, all_images
from images.members import read_members, wanted
from starlings.cli.scaffold import KINDS, write_agent

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
IMAGES = all_images(ROOT)


@pytest.fixture(params=[*FILES, "own agent"], ids=lambda at: getattr(at, "stem", at))
def file(request, tmp_path) -> Path:
    if isinstance(request.param, Path):
        return request.param
    write_agent("my-own", "function", tmp_path)
    return tmp_path / "Dockerfile"


def test_the_program_runs_as_nobody_in_particular_and_is_probed_from_outside(file):
    stages = read_dockerfile(file).ancestry()
    users = [user for stage in stages for user in stage.all("USER")]
    assert users == ["10001:10001"]
    env = " ".join(env for stage in stages for env in stage.all("ENV"))
    for setting in ("HOME=/tmp", "STARLINGS_HEALTH_HOST=0.0.0.0", "STARLINGS_HEALTH_PORT=8080"):
        assert setting in env.split()
    assert [port for stage in stages for port in stage.all("EXPOSE")] == ["8080"]


def test_nothing_is_fetched_but_the_base_and_what_pip_installs(file):
    found = read_dockerfile(file)
    assert found.head == [("ARG", "PYTHON=python:3.11-slim")]
    names = {stage.name for stage in found.stages} | {"${PYTHON}", "scratch"}
    assert {stage.base for stage in found.stages} <= names
    for stage in found.stages:
        assert not stage.all("ADD")
        assert not re.search(r"\b(apt|apt-get|curl|wget|apk)\b|https?://", str(stage.instructions))


def test_what_builds_stays_out_of_the_image(file):
    for stage in read_dockerfile(file).ancestry():
        assert not stage.all("RUN")
        assert all(line.startswith("--from=") for line in stage.all("COPY"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_image_says_its_version_and_revision_and_has_one_base_in_common(path):
    found = read_dockerfile(path)
    (labels,) = found.stages[-1].all("LABEL")
    assert 'image.version="${VERSION}"' in labels
    assert 'image.revision="${REVISION}"' in labels
    common = [read_dockerfile(other).stages[2:4] for other in FILES]
    assert [stage.name for stage in common[0]] == ["bare", "base"]
    assert common == [common[0]] * len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_that_differs_comes_before_steps_whose_arguments_differ(path):
    """Buildah 1.28 compares steps as written: an agent's image would run another agent."""
    *earlier, last = read_dockerfile(path).stages
    words = [word for word, _ in last.instructions]
    (name,) = (stage for stage in earlier if stage.name == "name")
    given = {text.partition("=")[0] for text in name.all("ARG")}
    assert given == {text.partition("=")[0] for text in last.all("ARG")}
    (run,) = name.all("RUN")
    assert all(f"${{{argument}}}" in run for argument in given)
    assert last.all("COPY")[-1] == "--from=name /opt/image /opt/image"
    assert words.count("COPY") == words.index("ENTRYPOINT"), "copies come first"


def test_an_image_that_says_it_is_another_one_is_found_out():
    def told(title, revision):
        labels = {f"{LABEL}.title": title, f"{LABEL}.revision": revision}
        return IMAGES["agent-web-search"].misfit({"config": {"Labels": labels}}, "r1")

    assert told("starlings-agent-web_search", "r1") == ""
    assert "starlings-agent-math of r1 instead of" in told("starlings-agent-math", "r1")
    assert "of r0 instead of" in told("starlings-agent-web_search", "r0")


def test_there_is_an_image_for_every_agent_that_is_offered():
    _, project = read_members(ROOT)["starlings-agents"]
    offered = {name.replace("_", "-") for name in project["entry-points"]["starlings.agents"]}
    assert set(IMAGES) == {"coordinator", "planner"} | {f"agent-{name}" for name in offered}
    assert IMAGES["agent-math"].arguments == {"AGENT": "math", "EXTRAS": ""}
    assert IMAGES["agent-web-search"].arguments == {"AGENT": "web_search", "EXTRAS": "web"}
    assert IMAGES["agent-sql"].arguments["EXTRAS"] == "bigquery,sql"


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_what_an_image_starts_is_in_the_packages_that_it_installs(image):
    last = read_dockerfile(ROOT / image.dockerfile).stages[-1]
    python, option, module = json.loads(last.all("ENTRYPOINT")[0])
    assert (python, option) == ("python", "-m")
    if (agent := image.arguments.get("AGENT")) is not None:
        assert 'STARLINGS_AGENTS="starlings_agents.${AGENT}:agent"' in last.all("ENV")
        module = f"starlings_agents.{agent}"
    package = "starlings-" + ("agents" if agent else image.name)
    folders = wanted(ROOT, [package]).members
    place = module.replace(".", "/")
    assert any(
        (ROOT / folder / name).exists() for folder in folders for name in (place, f"{place}.py")
    )


def test_an_image_says_by_a_variable_which_agent_it_runs(tmp_path):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STARLINGS_AGENTS": "no_such:agent"}
    for words, missing in (([], "no_such"), (["other_one:agent"], "other_one")):
        line = [sys.executable, "-m", "starlings.agents", *words]
        asked = subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert asked.returncode == 2
        assert missing in asked.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_of_an_own_agent_starts_that_agent(kind, tmp_path):
    write_agent("my-own", kind, tmp_path)
    found = read_dockerfile(tmp_path / "Dockerfile")
    (entry,) = found.stages[-1].all("ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", "starlings.agents", "my_own:agent"]
    assert (tmp_path / "my_own.py").is_file()


def test_the_builder_is_sent_only_what_an_image_is_made_of():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = [line[1:] for line in rules if line.startswith("!")]
    for path in FILES:
        for stage in read_dockerfile(path).stages:
            for line in stage.all("COPY"):
                source = line.split()[0]
                assert source.startswith(("--from=", *sent)), f"{path.name}: {source}"
