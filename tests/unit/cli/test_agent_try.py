"""`starlings agent try`: one step of any kind of agent, without a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

AGENTS = '''
from pydantic import BaseModel

from starlings import Agent, JobAgent, JobStatus, Sensor, StepContext, StepFailed, Waiting

tools = Agent("tools", description="Has tools")
function = Agent("function", description="Is a function")
jobs = JobAgent("jobs", description="Runs jobs", first_poll_s=0.01)
sensor = Sensor("sensor", description="Waits", every_s=0.01)
looks = []


class Trip(BaseModel):
    to: str


@tools.tool
def double(n: int) -> int:
    """Doubles."""
    return 2 * n


@function.step
def travel(trip: Trip) -> str:
    if trip.to == "nowhere":
        raise StepFailed("[b]no way[/b] \\x1b[31m", code="no_way")
    return f"[b]off[/b] to {trip.to}"


@jobs.create
def create(task: str) -> str:
    return f"job for {task}"


@jobs.get
def get(job: str) -> JobStatus:
    looks.append(job)
    return JobStatus.succeeded({"of": job}) if len(looks) > 2 else JobStatus.running(len(looks))


@jobs.delete
def delete(job: str) -> None:
    print("deleted", job)


@sensor.poke
def poke(task: str, ctx: StepContext) -> bool | Waiting:
    return ctx.state == 2 or Waiting(state=(ctx.state or 0) + 1)
'''


@pytest.fixture(autouse=True)
def agents(starlings) -> None:
    Path("some.py").write_text(AGENTS)


def test_a_tool_a_function_a_job_and_a_sensor_can_be_tried(starlings):
    assert starlings("agent", "try", "some.py:tools", "--tool", "double", "--args", '{"n": 4}') == 0
    assert starlings.stdout.splitlines()[0].split() == ["double", '{"n":', "4}"]
    assert starlings.stdout.splitlines()[-1] == "8"

    assert starlings("agent", "try", "some.py:function", "--input", '{"to": "Oslo"}') == 0
    assert starlings.stdout.splitlines()[-1] == "[b]off[/b] to Oslo"

    assert starlings("agent", "try", "some.py:jobs", "--task", "lunch") == 0
    assert '"progress": 1' in starlings.stdout
    assert json.loads(starlings.stdout.split("s\n")[-1]) == {"of": "job for lunch"}

    assert starlings("agent", "try", "some.py:sensor", "--task", "wait") == 0
    assert starlings.stdout.splitlines()[-1] == "true"


def test_json_is_the_whole_result_and_nothing_else(starlings):
    assert starlings("agent", "try", "some.py:jobs", "--task", "lunch", "--json") == 0

    assert starlings.document["outcome"] == "ok"
    assert starlings.document["output"] == {"of": "job for lunch"}


def test_a_failure_is_told_as_text_and_by_the_exit_code(starlings):
    assert starlings("agent", "try", "some.py:function", "--input", '{"to": "nowhere"}') == 1

    assert "no_way: [b]no way[/b]" in starlings.stdout
    assert "\x1b" not in starlings.stdout


def test_a_job_beyond_the_limit_is_deleted(starlings):
    code = AGENTS.replace("len(looks) > 2", "False")
    Path("endless.py").write_text(code)

    assert starlings("agent", "try", "endless.py:jobs", "--task", "x", "--timeout", "200ms") == 1
    assert "deleted job for x" in starlings.stdout
    assert "timeout" in starlings.stdout


def test_a_builtin_agent_is_found_by_its_name_and_an_input_in_a_file(starlings):
    Path("args.json").write_text('{"n": 5}')

    assert starlings("agent", "try", "math", "--tool", "factorial", "--args", "@args.json") == 0
    assert starlings.stdout.splitlines()[-1] == "120"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["some.py:function", "--input", "{"], "--input is no JSON"),
        (["some.py:function", "--input", "@missing.json"], "cannot be read"),
        (["some.py:function"], "give --task, --input or --tool"),
        (["some.py:tools", "--tool", "double", "--args", "[1]"], "--args: "),
        (["some.py"], "holds several agents"),
        (["nothing"], "there is no module 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(starlings, argv, words):
    assert starlings("agent", "try", *argv) == 2
    assert words in starlings.stderr
    assert len(starlings.stderr.splitlines()) == 1


def test_an_unknown_tool_and_a_wrong_input_are_the_steps_failure(starlings):
    assert starlings("agent", "try", "some.py:tools", "--tool", "triple") == 1
    assert "unknown_tool" in starlings.stdout
    assert starlings("agent", "try", "some.py:function", "--input", '{"from": "Oslo"}') == 1
    assert "input_invalid" in starlings.stdout
