"""The agent `sensor` against real files, HTTP servers and an object store on this machine."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.agents import ready

from starlings import StepContext
from starlings.agents.execute import execute
from starlings.messages import StepDone, StepOutcome
from starlings_agents import sensor_files
from starlings_agents.sensor import agent
from starlings_agents.sensor_conditions import MISSING, at, same


class Web:
    """An HTTP server; `answers` are given one after the other, the last one for ever."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    def answer(self) -> tuple[int, bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(autouse=True)
def this_machine_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARLINGS_FETCH_ALLOW", "127.0.0.1")
    monkeypatch.setenv("STARLINGS_FETCH_PORTS", "1-65535")


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.command, self.path))
            status, body = served.answer()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("last-modified", "Sat, 01 Jan 2028 00:00:00 GMT")
            self.send_header("etag", '"1"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as the server looks for it

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def context() -> StepContext:
    return StepContext(run_id="r1", step_id="s1", attempt=1, agent="sensor")


class Waited:
    """What became of a wait, how often it paused, and what it said."""

    def __init__(self, meanwhile: Callable[[], Any] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.pauses: list[float] = []
        self.said: list[Any] = []

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile()
        await asyncio.sleep(0)

    async def say(self, progress: Any) -> None:
        self.said.append(progress.get("progress"))

    async def run(self, condition: dict[str, Any], **more: Any) -> StepDone:
        step = ready(agent="sensor", task="", input=condition, **more)
        return await execute(agent, step, pause=self.pause, heartbeat=self.say)


async def test_a_file_that_comes_later_and_grows_is_waited_for(tmp_path: Path):
    path = tmp_path / "report.csv"
    waited = Waited(lambda: path.write_bytes(b"x" * (4 * len(waited.pauses))))

    done = await waited.run({"wait_for": "file", "url": str(path), "min_size_bytes": 8})

    assert (done.outcome, done.output["size_bytes"]) == (StepOutcome.OK, 8)
    assert waited.pauses == [10.0, 10.0]
    assert waited.said == ["4 bytes so far"]


async def test_a_file_may_be_named_by_its_url(tmp_path: Path):
    (tmp_path / "a b.txt").write_text("x")

    done = await Waited().run({"wait_for": "file", "url": (tmp_path / "a b.txt").as_uri()})

    assert done.output["size_bytes"] == 1


async def test_an_object_of_an_s3_store_is_waited_for(web: Web, monkeypatch):
    web.answers = [(404, b""), (404, b""), (200, b"12345")]
    settings = {"ENDPOINT": web.url, "ALLOW_HTTP": "true", "SKIP_SIGNATURE": "true"}
    for name, value in {**settings, "REGION": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    sensor_files._store.cache_clear()

    done = await Waited().run({"wait_for": "file", "url": "s3://bucket/a/b.csv", "every_s": 1})

    assert done.output["size_bytes"] == 5
    assert web.asked == [("HEAD", "/bucket/a/b.csv")] * 3
    sensor_files._store.cache_clear()


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ({"status": 200}, {"state": "done", "n": [1, True]}),
        ({"pointer": "/state", "equals": "done"}, "done"),
        ({"pointer": "/n/1", "equals": True}, True),
        ({"contains": '"done"'}, {"state": "done", "n": [1, True]}),
    ],
)
async def test_an_http_address_is_asked_until_it_answers_as_wanted(web: Web, condition, value):
    web.answers = [
        (503, b"{}"),
        (200, b"no json"),
        (200, json.dumps({"state": "done", "n": [1, True]}).encode()),
    ]
    if "status" in condition:
        del web.answers[1]  # any body will do

    done = await Waited().run({"wait_for": "http", "url": web.url, **condition})

    assert done.output == {"status": 200, "value": value}


async def test_what_is_missing_is_told(web: Web):
    web.answers = [(503, b""), (200, b"{}"), (200, b'{"state":"busy"}'), (200, b'{"state":"ok"}')]
    waited = Waited()

    condition = {"wait_for": "http", "url": web.url, "pointer": "/state", "equals": "ok"}
    await waited.run(condition)

    assert waited.said == ["HTTP 503", "nothing at '/state'", "'/state' is 'busy'"]


async def test_an_address_where_nobody_answers_yet_is_asked_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens to nobody
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        look = await agent.begin(
            ready(agent="sensor", task="", input={"wait_for": "http", "url": url}), context()
        )

    assert not look.ended
    assert look.status.progress.startswith("no answer")


@pytest.mark.parametrize(
    "condition",
    [
        {"wait_for": "rain"},
        {"wait_for": "file", "url": "relative/path"},
        {"wait_for": "file", "url": "ftp://host/path"},
        {"wait_for": "http", "url": "file:///etc/passwd"},
        {"wait_for": "http", "url": "http://x", "equals": 1},
        {"wait_for": "http", "url": "http://x", "every_s": 0},
        {"wait_for": "event", "topic": "no good"},
        {"wait_for": "event", "topic": "t", "from": "tomorrow"},
        {"wait_for": "run"},
        {"wait_for": "file", "url": "/x", "unknown": 1},
    ],
)
async def test_a_condition_that_makes_no_sense_fails_at_once(condition):
    done = await Waited().run(condition)

    assert done.error.code == "input_invalid"


@pytest.mark.parametrize("port", ["", ":22"])
async def test_an_address_inside_is_not_asked_and_not_waited_for(monkeypatch, web: Web, port):
    monkeypatch.delenv("STARLINGS_FETCH_ALLOW")
    monkeypatch.delenv("STARLINGS_FETCH_PORTS")
    for url in (f"http://169.254.169.254{port}/", f"http://localhost{port}/", web.url):
        done = await Waited().run({"wait_for": "http", "url": url})
        assert done.error is not None
        assert done.error.code in {"address_forbidden", "port_forbidden"}
        assert not done.error.retryable
    assert web.asked == []


async def test_what_may_be_waited_for_can_be_restricted(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("STARLINGS_SENSOR_KINDS", "event,run")

    done = await Waited().run({"wait_for": "file", "url": str(tmp_path)})

    assert done.error.code == "not_allowed"
    assert "STARLINGS_SENSOR_KINDS" in done.error.message


@pytest.mark.parametrize("pointer", ["id", "/" + "9" * 5_000])
async def test_what_is_no_pointer_or_a_too_long_one_is_told_before_anything_is_looked_at(pointer):
    event = {"wait_for": "event", "topic": "orders", "where": {pointer: 1}}
    address = {"wait_for": "http", "url": "http://127.0.0.1:1/", "pointer": pointer}

    for condition in (event, address):
        error = (await Waited().run(condition)).error
        assert (error.code, error.retryable) == ("input_invalid", False)
        assert "where" in error.message or "pointer" in error.message


def test_json_pointers_find_what_they_point_to_and_values_are_compared_as_json():
    value = {"a/b": {"~": [{"x": None}]}, "": 1}

    assert at(value, "") is value
    assert at(value, "/a~1b/~0/0/x") is None
    assert at(value, "/") == 1
    assert at(value, "/a~1b/~0/1") is MISSING
    assert at(value, "/a~1b/~0/00") is MISSING
    assert at([1], "/" + "9" * 5_000) is MISSING
    assert at("text", "/0") is MISSING
    assert same(1, 1.0)
    assert not same(1, True)
