"""Candidates in the shadow of an agent, by the command line: compared, with no effect."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from support import tellers
from support.asking import records_in
from support.cli_process import CommandLine, Ended
from support.model_server import ModelServer, Reply, model_server
from support.services import Services
from support.waiting import wait_until

from starlings.messages import REPLAY_HEADER, SHADOW_HEADER, RunOutcome, header

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

FILE = str(Path(tellers.__file__))
LARGE = "x" * 300_000  # goes into the blob store


def asks(item: str, *, run_s: float | None = 120, filling: str = "") -> list[dict[str, object]]:
    given = {"item": item, "filling": filling}
    return [{"id": item, "agent": "teller", "input": given, "timeouts": {"run_s": run_s}}]


async def do(services: Services) -> list[str]:
    """Have the real agent do the work that candidates are measured by."""
    async with services.client() as client:
        plans = [asks("tea"), asks("coffee", run_s=12), asks("cake", filling=LARGE)]
        runs = [await client.submit(plan=plan) for plan in plans]
        ends = [await run.result(timeout_s=60) for run in runs]
    assert {end.outcome for end in ends} == {RunOutcome.COMPLETED}
    return [run.run_id for run in runs]


@pytest.fixture(scope="module")
def runs(system: Services) -> list[str]:
    """The runs whose steps lie in the log."""
    system.start("coordinator", "planner", f"{FILE}:agent")
    return asyncio.run(do(system))


@pytest.fixture
def shadow(system: Services, runs: list[str]):
    """Run `starlings replay shadow` with a candidate of the file."""
    line = CommandLine(system)

    async def run(candidate: str, *argv: str, **options) -> Ended:
        named = ["--agent", "teller", "--candidate", f"{FILE}:{candidate}", "--name", candidate]
        return await line("replay", "shadow", *named, *argv, **options)

    return run


def told(services: Services, what: str) -> Counter[str]:
    """Count the lines of tellers by step."""
    file = services.folder / tellers.TOLD
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return Counter(f"{line[1]} {line[2]}" for line in lines if line[0] == what)


async def sizes(services: Services) -> dict[str, int]:
    """Count the records of all topics that are not of shadows."""
    prefix = services.topics.prefix
    connection = services.connection()
    names = [n for n in await connection.topic_names() if n.startswith(prefix)]
    live = [n for n in names if not n.startswith(f"{prefix}shadow.")]
    places = [TopicPartition(n, p) for n in live for p in await connection.partitions(n)]
    async with connection.reading() as consumer:
        ends = await consumer.end_offsets(places)
    found: Counter[str] = Counter()
    for place, end in ends.items():
        found[place.topic] += end
    return dict(found)


async def test_a_candidate_that_gives_the_same_is_told_so_and_touches_no_live_topic(
    system, shadow, runs
):
    beating = {system.topics.agents}  # instances that live give signs of life
    asked = told(system, "asked")
    before = await sizes(system)
    ended = await shadow("good", "--since", "1h", "--json")
    after = await sizes(system)

    assert ended.code == 0, ended.stderr
    found = ended.document
    assert found["verdicts"]["same"] == found["compared"] == found["steps"] == 3
    assert {n: s for n, s in after.items() if n not in beating} == {
        n: s for n, s in before.items() if n not in beating
    }
    assert told(system, "asked") == asked  # prices were answered from the record
    assert sum(told(system, "tried").values()) == 3
    assert all(line.endswith("True") for line in told(system, "tried"))  # it knew
    assert found["was"]["p50_s"] is not None
    assert found["now"]["p95_s"] is not None

    (topic,) = [
        n
        for n in await system.connection().topic_names()
        if ".shadow." in n or n.startswith(f"{system.topics.prefix}shadow.teller.good")
    ]
    records = await records_in(system, [topic])
    assert all("shadow good of teller" in (header(r.headers, REPLAY_HEADER) or "") for r in records)
    assert all(header(r.headers, SHADOW_HEADER) for r in records)
    shown = await CommandLine(system)("group", "show", "shadow.teller.good", "--json")
    assert shown.document["pending"] == 0

    again = await shadow("good", "--json")  # goes on where it was, which is the end
    assert (again.code, again.document["compared"]) == (0, 3)
    assert sum(told(system, "tried").values()) == 3
    anew = await shadow("good", "--again", "--run", runs[0], "--json")
    assert (anew.code, anew.document["compared"]) == (0, 1)
    assert sum(told(system, "tried").values()) == 4


async def test_differences_are_shown_step_by_step_and_written_to_a_file(system, shadow, tmp_path):
    file = tmp_path / "report.jsonl"
    ended = await shadow("worded", "--report", str(file))
    assert ended.code == 8, ended.stderr
    assert "3 different" in ended.stdout
    assert 'item: "tea" → "TEA"' in ended.stdout
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["verdict"] for row in rows} == {"different"}
    assert {row["output"]["item"] for row in rows} == {"TEA", "COFFEE", "CAKE"}
    assert all(row["was"]["outcome"] == "ok" for row in rows)


async def test_a_candidate_that_raises_or_hangs_has_failed(shadow, runs):
    ended = await shadow("raising", "--run", runs[0], "--run", runs[1], "--json")
    assert ended.code == 8, ended.stderr
    rows = {row["step_id"]: row for row in ended.document["results"]}
    assert {row["verdict"] for row in rows.values()} == {"failed"}
    assert rows["tea"]["now"]["code"] == "no_idea"
    assert rows["coffee"]["now"]["code"] == "timeout"


async def test_what_the_record_does_not_answer_is_refused_and_makes_no_comparison(system, shadow):
    ended = await shadow("careless", "--json")
    assert ended.code == 1, ended.stderr
    assert ended.document["verdicts"]["not comparable"] == 3
    live = await shadow("careless", "--again", "--live-reads", "--json")
    assert live.document["verdicts"]["not comparable"] == 3  # it is no read, as far as is declared
    assert not told(system, "bought")


async def test_an_interrupted_shadow_goes_on_where_it_was(system, shadow, runs):
    line = CommandLine(system)
    named = ["--agent", "teller", "--candidate", f"{FILE}:gated", "--name", "gated"]
    chosen = ["--run", runs[0], "--run", runs[2]]
    process = await line.start("replay", "shadow", *named, *chosen, "--concurrency", "2")
    try:
        topic = system.topics.shadow("teller", "gated")

        async def half_is_done() -> bool:
            if sum(told(system, "let").values()) < 2:
                return False
            return len(await records_in(system, [topic])) == 1

        await wait_until(half_is_done, timeout_s=60, message="one is done, one waits")

        async def committed() -> bool:
            shown = await line("group", "show", "shadow.teller.gated", "--json")
            return shown.document["pending"] == 1

        await wait_until(committed, timeout_s=60, message="what is done is committed")
    finally:
        process.kill()
        await process.communicate()

    (system.folder / tellers.GATE).touch()
    ended = await shadow("gated", *chosen, "--json")
    assert ended.code == 0, ended.stderr
    assert ended.document["compared"] == 2
    let = told(system, "let")
    assert let[f"{runs[0]}/tea True"] == 1
    assert let[f"{runs[2]}/cake True"] == 2


@pytest.mark.parametrize(
    ("answers", "code", "verdict", "said"),
    [
        (['{"same": true, "reason": "only the case differs"}'], 0, "same meaning", "only the case"),
        (['{"same": false, "reason": "another item"}'], 8, "different", "another item"),
        (["as you like it"] * 9, 8, "different", "no usable answer"),
    ],
)
async def test_a_judge_says_whether_they_mean_the_same(shadow, runs, answers, code, verdict, said):
    with model_server(ModelServer()) as server:
        server.replies(*(Reply(answer) for answer in answers))
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
        argv = ["--again", "--judge", "--run", runs[0], "--json"]
        ended = await shadow("worded", *argv, env=env)
    assert ended.code == code, ended.stderr
    (row,) = ended.document["results"]
    assert row["verdict"] == verdict
    assert said in row["judgement"]["reason"]
    assert ended.document["judge"]["calls"] >= 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--agent", "nobody", "--candidate", f"{FILE}:good"], "there is no agent 'nobody'"),
        (["--agent", "teller", "--candidate", f"{FILE}:none"], "does not exist"),
        (["--agent", "teller", "--candidate", f"{FILE}:job"], "cannot be answered from the record"),
        (["--agent", "teller", "--candidate", FILE], "several agents|two agents"),
        (
            ["--agent", "teller", "--candidate", f"{FILE}:good", "--until", "1h"],
            "no step of teller",
        ),
        (["--agent", "teller", "--candidate", f"{FILE}:good", "--run", "r9"], "of the runs r9"),
        (["--agent", "teller", "--candidate", f"{FILE}:good", "--name", "A b"], "cannot name"),
        (["--agent", "teller"], "no installed package offers an agent 'teller'"),
        (["--agent", "teller"], "say where it is: --candidate module:agent"),
        (
            ["--agent", "teller", "--candidate", f"{FILE}:good", "--report", "nowhere/x.jsonl"],
            "there is no folder nowhere",
        ),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_words(system, runs, argv, said):
    assert runs
    refused = await CommandLine(system)("replay", "shadow", *argv)
    assert refused.code == 2, refused.stdout
    text = " ".join(refused.stderr.replace("│", " ").split())
    assert any(each in text for each in said.split("|")), text


async def test_the_latest_run_may_be_meant(shadow, runs):
    ended = await shadow("good", "--again", "--run", "latest", "--json")
    assert ended.code == 0, ended.stderr
    (row,) = ended.document["results"]
    assert row["run_id"] in runs


async def test_steps_whose_blobs_are_gone_make_no_comparison(system, shadow, tmp_path):
    blobs = system.folder / "blobs"
    shutil.move(blobs, tmp_path / "blobs")
    try:
        ended = await shadow("good", "--again", "--json")
    finally:
        shutil.rmtree(blobs, ignore_errors=True)
        shutil.move(tmp_path / "blobs", blobs)
    assert ended.code == 0, ended.stderr  # the others are the same
    (gone,) = [r for r in ended.document["results"] if r["verdict"] == "not comparable"]
    assert gone["step_id"] == "cake"
    assert ended.document["verdicts"]["same"] == 2


async def test_a_window_whose_beginning_retention_has_deleted_is_said_to_be_cut(
    system, shadow, runs
):
    source = system.topics.steps("teller")
    records = await records_in(system, [source])
    oldest = min(records, key=lambda r: r.timestamp)
    place = TopicPartition(source, oldest.partition)
    async with system.connection().administering() as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=oldest.offset + 1)})
    ended = await shadow("good", "--again", "--since", "1h", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.document["steps"] == len(runs) - 1
    assert "retention has deleted" in ended.stderr
