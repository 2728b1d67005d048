"""`starlings replay fork` and `starlings diff` on Kafka: the original stays, the fork goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from aiokafka import ConsumerRecord
from support import poets
from support.model_server import ModelServer, Reply, model_server
from support.waiting import wait_until

from starlings import LocalRun
from starlings.messages import REPLAY_HEADER, RunDone, RunForked, header, message_id
from starlings.replay import ArchiveHeader, KafkaSource, create_archive, ranges_of
from starlings_agents.math import agent as math

pytestmark = pytest.mark.kafka

POET, CLERK = f"{poets.__file__}:poet", f"{poets.__file__}:clerk"
WITHIN_S = 60.0
PLAN = [
    {"id": "book", "agent": "clerk", "task": "book a room"},
    {"id": "poem", "agent": "poet", "task": "write about it", "depends_on": ["book"]},
    {"id": "seal", "agent": "clerk", "task": "seal it", "depends_on": ["poem"]},
]


class Echo(ModelServer):
    """Answers with the name of the model that was asked, and the end of its instructions."""

    def next_reply(self, request: dict[str, Any], headers: dict[str, str]) -> Reply:
        super().next_reply(request, headers)
        said = request["messages"][0]["content"].splitlines()[-1]
        return Reply(f"{request['model']} was told: {said}")


@pytest.fixture(scope="module")
def model():
    with model_server(Echo()) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def started(system, model):
    """What all tests of this file need."""
    env = {"OPENAI_BASE_URL": model.base_url, "STARLINGS_MODEL": "small"}
    system.spawn("coordinator")
    system.spawn("planner")
    system.spawn(CLERK)
    system.spawn(POET, env=env)
    system.spawn(POET, env={**env, "STARLINGS_VARIANT": "v2"})
    system.wait_ready(*system.running)


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


async def original(client, plan=PLAN, **options) -> str:
    run = await client.submit(plan=plan, **options)
    await run.result(timeout_s=WITHIN_S)
    return run.run_id


def acts(system) -> list[str]:
    file = system.folder / poets.ACTS
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


async def records_of(client, run_id: str) -> list[ConsumerRecord]:
    ranges = await ranges_of(client.connection, [client.topics.events])
    records = KafkaSource(client.connection, ranges).records()
    return [record async for record in records if record.key == run_id.encode()]


def lose_blobs(system, run_id: str) -> int:
    blobs = Path(urlparse(system.blobs_url).path)
    lost = [f for f in blobs.rglob("*") if f.is_file() and run_id.encode() in f.read_bytes()]
    for file in lost:
        file.unlink()
    return len(lost)


def output(document: dict[str, Any], step_id: str) -> Any:
    return next(step["output"] for step in document["steps"] if step["id"] == step_id)


async def test_a_fork_asks_another_model_for_one_step_and_the_original_stays(
    system, client, starlings
):
    run_id = await original(client)
    before = [record.value for record in await records_of(client, run_id)]
    told = await starlings(
        *("replay", "fork", run_id, "--from-step", "poem", "--set", "model=large", "--json"),
        *("--set", "poem.prompt=Be brief.", "--wait", "60s"),
    )
    assert told.code == 0, told.stderr
    fork = told.document
    assert fork["forked_from"]["run_id"] == run_id
    changed = ["from step poem", "model=large", "poem.prompt=Be brief."]
    assert fork["forked_from"]["changed"] == changed
    assert [(s["id"], s["inherited"]) for s in fork["steps"]] == [
        ("book", True),
        ("poem", False),
        ("seal", False),
    ]
    assert output(fork, "poem")["text"] == "large was told: Be brief."
    assert output(fork, "book") == f"booked by {run_id}/book/1"
    assert output(fork, "poem")["key"] == f"{fork['run_id']}/poem/1"
    assert [record.value for record in await records_of(client, run_id)] == before
    assert f"book {fork['run_id']}/book/1" not in acts(system)
    assert f"book {fork['run_id']}/seal/1" in acts(system)
    first, *others = await records_of(client, fork["run_id"])
    assert header(first.headers, REPLAY_HEADER) == f"fork of {run_id}"
    assert {header(record.headers, REPLAY_HEADER) for record in others} == {None}

    page = await starlings("show", fork["run_id"])
    assert f"from {run_id}" in page.stdout
    assert "inherited" in page.stdout
    listed = await starlings("runs", "--json")
    assert {r["run_id"]: r["forked_from"] for r in listed.document}[fork["run_id"]] == run_id
    assert (await starlings("replay", "verify", fork["run_id"])).code == 0

    found = (await starlings("diff", run_id, fork["run_id"], "--json")).document
    assert [(s["id"], s["same"], s["same_result"]) for s in found["steps"]] == [
        ("book", True, True),
        ("poem", False, False),
        ("seal", False, False),
    ]
    assert found["options"] == ["model"]
    told = await starlings("diff", run_id, fork["run_id"])
    assert "≠ poem" in told.stdout
    assert "small was told: You write." in told.stdout
    assert "2 of 3 steps differ, 1 do not (1 inherited)" in told.stdout


async def test_a_fork_goes_to_a_variant_of_an_agent(client, starlings):
    run_id = await original(client)
    told = await starlings(
        "replay", "fork", run_id, "--from-step", "poem", "--agent", "poet=v2", "--json"
    )
    assert told.code == 0, told.stderr
    assert output(told.document, "poem")["variant"] == "v2"
    assert [s["variant"] for s in told.document["steps"]] == [None, "v2", None]
    usual = await starlings("replay", "fork", run_id, "--from-step", "poem", "--agent", "poet=v9")
    assert usual.code == 3
    assert "no instance of variant 'v9' of agent 'poet' is alive" in usual.stderr


async def test_a_fork_that_fails_undoes_what_it_did_and_nothing_of_the_original(
    system, client, starlings
):
    run_id = await original(client)
    plan = system.folder / "sign.json"
    more = [
        {"id": "sign", "agent": "clerk", "task": "sign", "depends_on": ["poem"]},
        {"id": "file", "agent": "clerk", "task": "fail", "depends_on": ["sign"]},
    ]
    plan.write_text(json.dumps({"steps": more}), encoding="utf-8")
    told = await starlings("replay", "fork", run_id, "--plan", str(plan), "--json")
    assert told.code == 1, told.stderr
    fork = told.document
    assert fork["status"] == "compensated"
    assert [(s["id"], s["inherited"], bool(s["undone"])) for s in fork["steps"]] == [
        ("book", True, False),
        ("poem", True, False),
        ("seal", True, False),
        ("sign", False, True),
        ("file", False, False),
    ]
    undone = [line for line in acts(system) if line.startswith("unbook")]
    assert undone == [f"unbook {fork['run_id']}/sign/1/compensation"]


async def test_as_of_an_offset_what_was_done_by_then_is_kept(client, starlings):
    run_id = await original(client)
    done = [r for r in await records_of(client, run_id) if header(r.headers, "ce_id") or ""]
    place = next(
        r.offset for r in done if header(r.headers, "ce_id") == f"{run_id}/book/1/step_done"
    )
    looked = await starlings(
        "replay", "fork", run_id, "--at", str(place), "--dry-run", "--json", "--run-id", "never"
    )
    assert looked.code == 0, looked.stderr
    assert looked.document["kept"] == ["book"]
    assert [step["id"] for step in looked.document["runs"]] == ["poem", "seal"]
    assert looked.document["from_offset"] == place
    assert (await starlings("show", "never")).code == 2, "nothing was published"
    page = await starlings("replay", "fork", run_id, "--at", str(place), "--dry-run")
    assert "nothing was published" in page.stdout
    early = await starlings("replay", "fork", run_id, "--at", "0", "--dry-run")
    assert early.code in (0, 7)
    nothing = await starlings("replay", "fork", run_id)
    assert nothing.code == 7
    assert "nothing would run" in nothing.stderr


async def test_what_cannot_be_forked_is_said_so(system, client, starlings):
    run_id = await original(client)
    unknown = await starlings("replay", "fork", "no-such-run")
    assert (unknown.code, "no run 'no-such-run'" in unknown.stderr) == (2, True)
    no_step = await starlings("replay", "fork", run_id, "--from-step", "x")
    assert (no_step.code, "there are: book, poem, seal" in no_step.stderr) == (2, True)
    again = await starlings("replay", "fork", run_id, "--from-step", "seal", "--run-id", run_id)
    assert again.code == 7
    assert f"there is a run {run_id} already" in again.stderr
    plan = system.folder / "changed.yaml"
    plan.write_text("steps: [{id: book, agent: clerk, task: book a suite}]\n", encoding="utf-8")
    changed = await starlings("replay", "fork", run_id, "--plan", str(plan))
    assert changed.code == 3
    assert "--from-step book" in changed.stderr
    wrong = await starlings("replay", "fork", run_id, "--set", "api_key=x")
    assert wrong.code == 2
    assert "sets nothing" in wrong.stderr
    alone = await starlings("diff", run_id, "no-such-run")
    assert alone.code == 2
    failing = [{"id": "a", "agent": "clerk", "task": "fail"}, {**PLAN[2], "depends_on": ["a"]}]
    stopped = await client.submit(plan=failing, on_failure="stop")
    await stopped.result(timeout_s=WITHIN_S)
    never = await starlings("replay", "fork", stopped.run_id, "--from-step", "seal")
    assert never.code == 7
    assert "step 'seal' has never run" in never.stderr


async def test_the_first_of_two_forks_of_one_name_counts(client, starlings):
    run_id = await original(client)
    argv = ("replay", "fork", run_id, "--from-step", "seal", "--run-id", f"{run_id}-again")
    first = await starlings(*argv, "--no-wait")
    assert (first.code, first.stdout.strip()) == (0, f"{run_id}-again")
    second = await starlings(*argv)
    assert second.code == 7
    await client.run(f"{run_id}-again").result(timeout_s=WITHIN_S)
    facts = await records_of(client, f"{run_id}-again")
    assert [header(r.headers, "ce_type") for r in facts].count(RunForked.CE_TYPE) == 1


async def test_two_forks_of_one_name_at_once_make_one_run(client, starlings):
    run_id = await original(client)
    argv = ("replay", "fork", run_id, "--from-step", "seal", "--run-id", f"{run_id}-race")
    ended = await asyncio.gather(*(starlings(*argv, "--no-wait") for _ in range(2)))
    assert sorted(each.code for each in ended) in ([0, 7], [0, 0])
    await client.run(f"{run_id}-race").result(timeout_s=WITHIN_S)
    facts = await records_of(client, f"{run_id}-race")
    assert [header(r.headers, "ce_type") for r in facts].count(RunDone.CE_TYPE) == 1


async def test_a_result_whose_blob_is_gone_is_done_anew_only_on_demand(system, client, starlings):
    plan = [
        {"id": "large", "agent": "clerk", "task": "large"},
        {"id": "seal", "agent": "clerk", "task": "seal", "depends_on": ["large"]},
    ]
    run_id = await original(client, plan)
    assert lose_blobs(system, run_id)
    told = await starlings("replay", "fork", run_id, "--from-step", "seal")
    assert told.code == 7
    assert "the result of step 'large' cannot be read" in told.stderr
    anew = await starlings("replay", "fork", run_id, "--from-step", "large", "--json")
    assert anew.code == 0, anew.stderr
    assert [step["inherited"] for step in anew.document["steps"]] == [False, False]


async def test_a_run_that_is_only_in_an_archive_is_forked_from_there(system, client, starlings):
    local = LocalRun(
        [
            {"id": "sum", "agent": "math", "tool": "add", "args": {"a": 1, "b": 2}},
            {"id": "seal", "agent": "math", "tool": "add", "args": {"a": 3, "b": 4}},
        ],
        [math],
        run_id="long-ago",
    )
    await local
    codec, archive = client.codec, system.folder / "long-ago.jsonl"
    with create_archive(archive, ArchiveHeader(prefix="elsewhere.")) as writer:
        for offset, fact in enumerate(local.facts):
            ident = message_id("long-ago", f"{fact.NAME}/{offset}")
            value, headers = await codec.encode(fact, id=ident, subject="long-ago")
            writer.write(
                ConsumerRecord(
                    topic="elsewhere.events",
                    partition=0,
                    offset=offset,
                    timestamp=1_000 + offset,
                    timestamp_type=0,
                    key=b"long-ago",
                    value=value,
                    checksum=None,
                    serialized_key_size=0,
                    serialized_value_size=0,
                    headers=tuple(headers),
                )
            )
    plan = system.folder / "on.json"
    more = [{"id": "on", "agent": "clerk", "task": "go on", "depends_on": ["sum"]}]
    plan.write_text(json.dumps({"steps": more}), encoding="utf-8")
    argv = ("replay", "fork", "long-ago", "--plan", str(plan))
    assert (await starlings(*argv)).code == 2
    told = await starlings(*argv, "--from", str(archive), "--json")
    assert told.code == 0, told.stderr
    assert output(told.document, "sum") == 3

    async def ended() -> bool:
        return (await starlings("show", told.document["run_id"], "--json")).document["ended"]

    await wait_until(ended, timeout_s=30, message="the fork has ended")
