"""The agent `container` on a Docker engine's own answers, recorded, over a unix socket.

With `STARLINGS_RECORD_DOCKER=unix:///var/run/docker.sock` the same tests ask a real engine that has
the image `registry.local/jobs/box:1` (busybox), and record its answers anew.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.agents import ready
from support.exchanges import Exchanges, played, recording
from support.waiting import wait_until

from starlings import StepContext
from starlings.agents.execute import execute
from starlings.messages import StepDone, StepOutcome
from starlings_agents.container import agent, delete, docker
from starlings_agents.container.docker import Docker, unframed
from starlings_agents.container.settings import ContainerSettings
from starlings_agents.container.work import LOGS_LIMIT_BYTES, Started, last_of, name_of

BOX = "registry.local/jobs/box:1"
RECORD = "STARLINGS_RECORD_DOCKER"
NAME = name_of("r1/s1/1")
STARTED = Started(name=NAME, backend="docker", image=BOX)

Play = Callable[..., Exchanges]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Begin to play what is recorded under a name, or what a test says itself."""
    monkeypatch.setattr(docker, "_next_clearing", float("inf"))
    monkeypatch.setenv("STARLINGS_CONTAINER_IMAGES", "registry.local/jobs/*, busy*")
    monkeypatch.setenv("STARLINGS_CONTAINER_DOCKER_NETWORK", "none")
    with ExitStack() as stack:

        def play(what: str | list[dict[str, Any]]) -> Exchanges:
            socket = tmp_path / "docker.sock"
            chosen = (
                recording(f"docker_{what}", socket=socket, record=RECORD)
                if isinstance(what, str)
                else played(what, socket=socket, upstream=None)
            )
            exchanges = stack.enter_context(chosen)
            monkeypatch.setenv("STARLINGS_CONTAINER_DOCKER_URL", exchanges.url)
            return exchanges

        yield play


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds if RECORD in os.environ else 0)


async def run(*, clean: bool = True, **work: Any) -> StepDone:
    step = ready(agent="container", task="", input={"image": BOX, **work})
    done = await execute(agent, step, pause=pause)
    if clean and RECORD in os.environ:
        await delete(STARTED)
    return done


async def test_an_image_runs_to_its_end_and_tells_exit_code_and_logs(engine, monkeypatch):
    exchanges = engine("good")
    monkeypatch.setenv("STARLINGS_CONTAINER_SECRET_VENDOR", "hush-4711")

    done = await run(
        command=["sh", "-c", "echo $WHO $KEY; echo so, it ends >&2"],
        env={"WHO": "Ann"},
        secrets={"KEY": "vendor"},
        cpus=0.5,
        memory="32Mi",
    )

    assert (done.outcome, done.error) == (StepOutcome.OK, None)
    assert (done.output["exit_code"], done.output["logs_cut"]) == (0, False)
    assert sorted(done.output["logs"].splitlines()) == ["Ann ***", "so, it ends"]
    assert "hush-4711" not in done.model_dump_json()
    spec = next(body for _, path, body in exchanges.asked if "/containers/create" in path)
    assert "KEY=hush-4711" in spec["Env"]
    assert spec["HostConfig"]["Memory"] == spec["HostConfig"]["MemorySwap"] == 32 * 1024**2
    assert spec["HostConfig"]["NanoCpus"] == 500_000_000


async def test_another_exit_code_is_the_steps_error_with_the_end_of_the_logs(engine):
    engine("exit_code")

    error = (await run(command=["sh", "-c", "echo no ink left; exit 3"])).error

    assert (error.code, error.retryable) == ("exit_code", False)
    assert "exit code 3" in error.message
    assert "no ink left" in error.message


async def test_want_of_memory_escalates(engine):
    engine("out_of_memory")

    error = (await run(command=["sh", "-c", "a=x; while :; do a=$a$a; done"], memory="16Mi")).error

    assert error.code == "resource_exhausted"
    assert "memory" in error.message


async def test_a_start_that_is_repeated_finds_the_first_one_and_runs_nothing_twice(engine):
    exchanges = engine("repeated")

    first = await run(clean=False, command=["echo", "once"])
    second = await run(command=["echo", "once"])  # the handle of the first was lost

    assert first.output == second.output
    assert exchanges.count("POST", "/containers/create") == 2
    assert exchanges.count("POST", "/start") == 1


async def test_a_stopped_step_removes_its_container_and_may_do_so_again(engine):
    exchanges = engine("stopped")
    working = asyncio.create_task(run(clean=False, command=["sleep", "300"]))
    looks = f"/containers/{NAME}/json"
    await wait_until(lambda: exchanges.count("GET", looks) > 2, message="it is looked at")

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await delete(STARTED)

    assert exchanges.count("DELETE", NAME) == 2


async def test_a_command_that_is_not_in_the_image_leaves_nothing_behind(engine):
    exchanges = engine("bad_command")

    error = (await run(clean=False, command=["nosuch"])).error

    assert (error.code, error.retryable) == ("container_refused", False)
    assert "nosuch" in error.message
    assert exchanges.count("DELETE", NAME) == 1


async def test_a_container_that_is_unknown_fails_the_look_and_its_removal_does_not(engine):
    exchanges = engine("unknown")

    status = await agent.look(STARTED.model_dump(), context())
    await delete(STARTED)

    assert status.status.error.code == "container_gone"
    assert exchanges.count("DELETE", NAME) == 1


def context():
    return StepContext(run_id="r1", step_id="s1", attempt=1, agent="container")


def answer(method: str, path: str, status: int, value: Any) -> dict[str, Any]:
    return {"method": method, "path": path, "status": status, "json": value}


CREATE = f"/containers/create?name={NAME}"
DENIED = "pull access denied for busyfox, repository does not exist or may require 'docker login'"


@pytest.mark.parametrize(
    "pull",
    [
        {"status": 404, "json": {"message": DENIED}},
        {
            "status": 200,
            "text": '{"status":"Pulling"}\n{"error":"manifest unknown: ' + DENIED + '"}',
        },
    ],
)
async def test_an_image_that_does_not_exist_is_told(engine, pull):
    exchanges = engine(
        [
            answer("POST", CREATE, 404, {"message": "No such image: busyfox:latest"}),
            {"method": "POST", "path": "/images/create?fromImage=busyfox%3Alatest", **pull},
        ]
    )

    error = (await run(clean=False, image="busyfox")).error

    assert (error.code, error.retryable) == ("image_not_found", False)
    assert DENIED in error.message
    assert exchanges.count("POST", "/start") == 0


async def test_an_image_that_is_not_there_yet_is_fetched(engine):
    state = {"State": {"Status": "created"}}
    ended = {"State": {"Status": "exited", "ExitCode": 0, "OOMKilled": False}}
    exchanges = engine(
        [
            answer("POST", CREATE, 404, {"message": "No such image: busybox:1"}),
            answer("POST", CREATE, 201, {"Id": "1"}),
            {
                "method": "POST",
                "path": "/images/create?fromImage=busybox%3A1",
                "status": 200,
                "text": '{"status":"Pulling"}\n{"status":"Downloaded"}\n',
            },
            answer("GET", f"/containers/{NAME}/json", 200, state),
            answer("GET", f"/containers/{NAME}/json", 200, ended),
            answer("POST", f"/containers/{NAME}/start", 204, None),
        ]
    )

    done = await run(clean=False, image="busybox:1", log_lines=0)

    assert done.outcome is StepOutcome.OK
    assert exchanges.count("POST", "/start") == 1


async def test_an_engine_that_fails_to_show_a_new_container_may_do_better_later(
    engine,
):
    exchanges = engine(
        [
            answer("POST", CREATE, 201, {"Id": "1"}),
            answer("GET", f"/containers/{NAME}/json", 500, {"message": "layer store is locked"}),
            answer("DELETE", f"/containers/{NAME}?force=1&v=1", 204, None),
        ]
    )

    error = (await run(clean=False)).error

    assert (error.code, error.retryable) == ("engine_failed", True)
    assert "layer store is locked" in error.message
    assert exchanges.count("DELETE", NAME) == 1  # the other attempt has another name
    assert exchanges.count("POST", "/start") == 0


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (500, "engine_failed", True),
        (404, "engine_failed", True),
        (400, "container_refused", False),
    ],
)
async def test_what_an_engine_cannot_start_now_may_start_later_and_what_it_refuses_may_not(
    engine, status, code, retryable
):
    exchanges = engine(
        [
            answer("POST", CREATE, 201, {"Id": "1"}),
            answer("GET", f"/containers/{NAME}/json", 200, {"State": {"Status": "created"}}),
            answer("POST", f"/containers/{NAME}/start", status, {"message": "so it is"}),
            answer("DELETE", f"/containers/{NAME}?force=1&v=1", 204, None),
        ]
    )

    error = (await run(clean=False)).error

    assert (error.code, error.retryable) == (code, retryable)
    assert "cannot be started" in error.message
    assert "so it is" in error.message
    assert exchanges.count("DELETE", NAME) == 1


async def test_an_engine_that_is_away_may_be_back_later(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("STARLINGS_CONTAINER_DOCKER_URL", f"unix://{tmp_path}/none.sock")

    error = (await run(clean=False)).error

    assert (error.code, error.retryable) == ("engine_unavailable", True)
    assert "STARLINGS_CONTAINER_DOCKER_URL" in error.message


@pytest.mark.parametrize(
    ("work", "code", "words"),
    [
        ({"image": "evil:1"}, "not_allowed", "STARLINGS_CONTAINER_IMAGES allows registry.local"),
        ({"memory": "1Ti"}, "not_allowed", "STARLINGS_CONTAINER_MAX_MEMORY=4Gi"),
        ({"cpus": 99}, "not_allowed", "STARLINGS_CONTAINER_MAX_CPUS=4"),
        ({"memory": "much"}, "input_invalid", "512Mi"),
        ({"image": "-v /:/host"}, "input_invalid", "image"),
        ({"privileged": True}, "input_invalid", "privileged"),
        ({"secrets": {"KEY": "none"}}, "secret_unknown", "STARLINGS_CONTAINER_SECRET_NONE"),
    ],
)
async def test_what_may_not_be_run_is_refused_before_the_engine_is_asked(engine, work, code, words):
    exchanges = engine([])

    error = (await run(clean=False, **work)).error

    assert (error.code, error.retryable) == (code, False)
    assert words in error.message
    assert exchanges.asked == []


async def test_nothing_may_be_run_unless_it_is_allowed(engine, monkeypatch):
    monkeypatch.setenv("STARLINGS_CONTAINER_IMAGES", "")

    assert "STARLINGS_CONTAINER_IMAGES is not set" in (await run(clean=False)).error.message


async def test_containers_that_ended_long_ago_are_cleared_away(engine, monkeypatch):
    monkeypatch.setattr(docker, "_next_clearing", 0.0)
    ids = {"old": "2024-01-01T00:00:00.123456789Z", "new": "2999-01-01T00:00:00Z"}
    looked = [
        answer("GET", f"/containers/{i}/json", 200, {"State": {"FinishedAt": at}})
        for i, at in ids.items()
    ]
    removed = answer("DELETE", "/containers/old?force=1&v=1", 204, None)
    exchanges = engine([*looked, removed])
    filters = json.dumps({"label": ["starlings.agent=container"], "status": ["exited", "dead"]})
    path = str(httpx.URL("/containers/json", params={"all": 1, "limit": 1000, "filters": filters}))
    exchanges.recorded.append(answer("GET", path, 200, [{"Id": "new"}, {"Id": "old"}]))

    await run(clean=False)  # what comes after is not recorded

    assert [path for method, path, _ in exchanges.asked if method == "DELETE"] == [removed["path"]]


def test_logs_of_any_length_are_bounded_and_their_end_is_kept():
    frame = b"\x01\0\0\0" + (1_000).to_bytes(4, "big") + b"x" * 999 + b"\n"
    last = b"\x02\0\0\0" + (4).to_bytes(4, "big") + b"end\n"

    text, cut = last_of(unframed(frame * 5_000 + last + b"\x01\0\0"))

    assert (len(text), cut, text[-5:]) == (LOGS_LIMIT_BYTES, True, "\nend\n")
    assert last_of(unframed(b"a terminal has no frames")) == ("a terminal has no frames", False)


def test_a_step_gets_the_instances_own_measure_unless_it_says_another():
    settings = ContainerSettings(cpus=2, memory="1Gi")

    assert settings.resources(None, None) == (2, 1024**3)
    assert settings.resources(0.25, "2000") == (0.25, 2_000)
    assert Docker(settings)
