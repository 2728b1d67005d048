"""What `starlings new agent` writes holds what its README says, for every kind and any name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from starlings.agents.loading import load_agents
from starlings.cli.scaffold import KINDS, LONGEST_NAME, write_agent
from starlings.messages import Plan

BIN = Path(sys.executable).parent
LONG = "a" * 30 + "-" + "b" * (LONGEST_NAME - 31)
GIVES = {
    "function": '"seats": 2',
    "tools": "68.0",
    "job": '"film": "High tide"',
    "sensor": '"looks": 1',
    "react": 'order_confirmed  {"number":7}',
}


def run(argv: Sequence[str], folder: Path) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "STARLINGS_"))}
    env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        argv, cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path, kind) -> Path:
    write_agent(f"my-{kind}", kind, tmp_path / "mine")
    return tmp_path / "mine"


def test_the_commands_of_the_readme_work_as_they_stand_there(folder, kind):
    readme = (folder / "README.md").read_text()
    check, trial, dev = re.findall(r"^    (.+)$", readme, re.MULTILINE)[:3]
    assert (check, dev) == ("pytest", "starlings dev .")  # the last has a test on Kafka
    assert re.search(r"\d passed", run(["pytest", "-p", "no:cacheprovider"], folder))
    assert GIVES[kind] in run(["bash", "-c", trial], folder)


def test_its_plan_is_one_that_the_agent_takes(folder, kind):
    if kind == "react":
        assert not (folder / "plan.yaml").exists()
        return
    steps = yaml.safe_load((folder / "plan.yaml").read_text())["steps"]
    (step,) = Plan.model_validate({"steps": steps}).steps
    assert step.agent == f"my-{kind}"
    run(["starlings", "run", "--local", "--agents", ".", "--plan", "plan.yaml"], folder)


def test_its_package_offers_the_agent_and_its_image_starts_it(folder, kind):
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    spec = project["entry-points"]["starlings.agents"][f"my-{kind}"]
    assert spec == f"my_{kind}:agent"
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert [n for n in archive.namelist() if n.endswith(".py")] == [f"my_{kind}.py"]
    entrypoint = re.search(r"^ENTRYPOINT (.+)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert json.loads(entrypoint.group(1)) == ["python", "-m", "starlings.agents", spec]
    values = yaml.safe_load((folder / "values.yaml").read_text())
    said = values["agents"].pop(f"my-{kind}")
    assert values == {"agents": {}}
    assert said.pop("image") == f"registry.example.org/my-{kind}:0.1.0"
    assert said.keys() <= {"waits", "takesSteps", "listens", "emits"}


@pytest.mark.parametrize("name", ["x", LONG])
def test_linters_find_nothing_whatever_the_name(tmp_path, kind, name):
    write_agent(name, kind, tmp_path)
    for options in ([], ["--isolated"]):
        run(["ruff", "check", "--no-cache", *options], tmp_path)
        run(["ruff", "format", "--no-cache", "--check", *options], tmp_path)


def test_the_folder_stands_for_its_agent(folder, kind):
    spec = f"{folder}:agent"
    try:
        assert [agent.name for agent in load_agents(spec)] == [f"my-{kind}"]
    finally:
        sys.modules.pop(f"my_{kind}", None)
        sys.path.remove(str(folder))
