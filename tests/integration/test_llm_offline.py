"""The offline model as people meet it: over HTTP, in this process and in one of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import httpx
import pytest

from starlings.llm import LlmSettings, ModelClient, configured_endpoint, resolve_model
from starlings.llm.offline import MODEL, offline_server
from starlings.messages import AgentDefined, PlanRejected, RunRequested, ToolDefinition
from starlings.planning import Planner

COMMAND = [sys.executable, "-m", "starlings.llm.offline"]
TOOL = ToolDefinition(name="add", parameters={"type": "object", "properties": {"a": {}, "b": {}}})
AGENTS = {"math": AgentDefined(agent="math", tools=[TOOL])}


@pytest.fixture
def settings(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return LlmSettings(_env_file=None)


@pytest.fixture
def chat():
    with (
        offline_server() as base_url,
        httpx.Client(base_url=base_url, trust_env=False, timeout=10) as client,
    ):
        yield client


async def test_without_key_and_address_the_offline_rules_plan(settings):
    async with ModelClient(settings) as client:
        assert client.endpoint.offline
        assert "OPENAI_API_KEY" in client.endpoint.description
        request = RunRequested(request="Add 2 and 3, then add 4")
        created = await Planner(client).plan(request, run_id="r", agents=AGENTS, alive={"math"})
    assert created.model == MODEL
    assert [(s.task, s.depends_on) for s in created.plan.steps] == [
        ("Add 2 and 3", []),
        ("add the result of s1 and 4", ["s1"]),
    ]
    assert (created.usage.input_tokens, created.usage.output_tokens) == (0, 0)


async def test_what_the_rules_do_not_understand_is_rejected_with_what_to_do(settings):
    async with ModelClient(settings) as client:
        request = RunRequested(request="Write a poem about birds")
        rejected = await Planner(client).plan(request, run_id="r", agents=AGENTS, alive={"math"})
    assert isinstance(rejected, PlanRejected)
    [problem] = rejected.problems
    assert problem.code == "cannot_plan"
    assert problem.message.startswith(
        "I cannot plan this without a real model: set OPENAI_API_KEY or OPENAI_BASE_URL"
    )


def test_a_configured_model_is_preferred_to_the_rules():
    settings = LlmSettings(_env_file=None, openai_base_url="http://user:pw@localhost:1/v1/")
    with resolve_model(settings) as endpoint:
        assert not endpoint.offline
        assert endpoint.description == f"{settings.model} at localhost:1"
    keyed = configured_endpoint(LlmSettings(_env_file=None, openai_api_key="sk-1"))
    assert keyed.base_url == "https://api.openai.com/v1"
    assert "sk-1" not in repr(keyed)


async def test_a_client_can_be_closed_and_used_again(settings):
    client = ModelClient(settings)
    for _ in range(2):
        assert client.endpoint.offline
        await client.aclose()


def test_it_says_what_it_is(chat):
    models = chat.get("models").json()
    assert [model["id"] for model in models["data"]] == [MODEL]
    reply = chat.post("chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
    body = reply.json()
    assert body["model"] == MODEL
    assert "not a language model" in body["choices"][0]["message"]["content"]
    assert "not a language model" in chat.get(str(chat.base_url).replace("/v1/", "/")).text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "messages"),
        (b'{"messages": "hi"}', "messages"),
        (b'{"messages": ["hi"]}', "messages"),
    ],
)
def test_a_request_that_it_cannot_read_is_refused_in_the_protocols_way(chat, content, part):
    reply = chat.post("chat/completions", content=content)
    assert reply.status_code == 400
    assert part in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "request_",
    [
        "(" * 4_000 + "1" + ")" * 4_000,
        "1" + " + 1" * 2_000,
        "remainder of " * 600 + "7",
        "the sum of " * 300 + "1 and 2",
        "'" * 5_000,
        "add " * 2_000,
        "9" * 9_000 + " plus 1",
        "x" * 100_000,
        "\x00\ud7ff",
    ],
)
def test_a_hostile_request_is_answered_in_bounded_time(chat, request_):
    system = "Role: planner\nAgents:\n- math\n  - add(a: number, b: number)"
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"Request: {request_}"},
    ]
    reply = chat.post("chat/completions", json={"messages": messages})
    assert reply.status_code == 200
    assert '"cannot"' in reply.json()["choices"][0]["message"]["content"]


def test_as_a_process_it_prints_its_address_and_stops_cleanly():
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            base_url = process.stdout.readline().strip()
            with httpx.Client(trust_env=False) as client:
                assert client.get(f"{base_url}/models").json()["data"][0]["id"] == MODEL
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert "not a language model" in process.stderr.read()
        finally:
            process.kill()


def test_a_port_in_use_is_named_and_ends_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
