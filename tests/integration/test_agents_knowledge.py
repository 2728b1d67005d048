"""The agents `knowledge` and `knowledge_query`: learned, found, forgotten, rebuilt from the log."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.agents import ready

from starlings import LocalRun
from starlings.agents.execute import execute
from starlings.messages import RunOutcome, StepDone
from starlings_agents.knowledge import MemoryLog, agent, knowledge_in_memory, query
from starlings_agents.knowledge.changes import read_positions, write_positions
from starlings_agents.knowledge.log import Record
from starlings_agents.knowledge.passages import LONGEST, passages
from starlings_agents.knowledge.store import Store

BIRDS = [
    {"document": "starling", "title": "Starlings", "source": "https://birds.example/1",
     "text": "Starlings gather in murmurations at dusk.\n\nThey eat insects and fruit."},
    {"document": "swift", "title": "Swifts", "text": "Swifts sleep while they are flying."},
    {"document": "fruit", "title": "Fruit", "text": "Cherries are ripe in June."},
]  # fmt: skip


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("STARLINGS_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with knowledge_in_memory() as log:
        yield log


async def tell(tool: str, **args: Any) -> StepDone:
    return await execute(agent, ready(agent="knowledge", tool=tool, args=args))


async def ask(words: str, **more: Any) -> StepDone:
    given = {"query": words, **more}
    return await execute(query, ready(agent="knowledge_query", task="", input=given))


async def found(words: str, **more: Any) -> list[str]:
    done = await ask(words, **more)
    assert done.error is None, done.error
    return [passage["document"] for passage in done.output["passages"]]


async def test_a_run_learns_and_asks_and_reads_its_own_writes(log):
    plan = [
        {"id": "learn", "agent": "knowledge", "tool": "learn_many", "args": {"documents": BIRDS}},
        {"id": "ask", "agent": "knowledge_query", "task": "Which birds eat fruits?",
         "input": {"at_least": "{{steps.learn.output.position}}"}, "depends_on": ["learn"]},
    ]  # fmt: skip
    done = await LocalRun(plan, [agent, query])
    assert done.outcome is RunOutcome.COMPLETED
    answer = done.steps[1].output
    best = answer["passages"][0]
    assert best["document"] == "starling"
    assert best["text"].endswith("at dusk.\n\nThey eat insects and fruit.")
    assert best["source"] == "https://birds.example/1"
    assert answer["lag"] == {"behind": 0, "position": "0:3"}
    assert answer["ranked_by"] == "words"


async def test_what_is_learned_again_replaces_and_what_is_forgotten_is_gone(log):
    await tell("learn_many", documents=BIRDS)
    await tell("learn", text="Swifts nest under roofs.", document="swift")
    assert await found("sleep flying") == []
    assert await found("roof") == ["swift"]

    done = await tell("forget", document="swift")
    assert done.output == {"documents": ["swift"], "position": "0:5"}
    assert await found("roof") == []
    assert (await tell("forget", document="never there")).error is None


async def test_a_text_without_an_id_is_learned_once_however_often(log):
    first = await tell("learn", text="The kettle is on the shelf.")
    again = await tell("learn", text="The kettle is on the shelf.")
    assert first.output["documents"] == again.output["documents"]
    assert len(await found("kettle")) == 1


async def test_a_store_that_is_deleted_is_rebuilt_with_the_same_answers(log):
    await tell("learn_many", documents=BIRDS)
    await tell("learn", text="Fruit bats fly.", document="bat")
    await tell("forget", document="swift")
    before = (await ask("fruit that birds eat")).output
    for file in log.store.parent.iterdir():
        file.unlink()
    assert (await ask("fruit that birds eat")).output == before


async def test_a_log_that_was_made_anew_is_read_from_its_beginning(log):
    await tell("learn_many", documents=BIRDS)
    assert await found("swifts") == ["swift"]
    log.records.clear()
    await tell("learn", text="Owls hunt at night.", document="owl")
    assert await found("swifts owls") == ["owl"]


async def test_an_answer_that_would_be_too_old_is_asked_for_again_later(log):
    done = await ask("swifts", at_least="0:7")
    assert (done.error.code, done.error.retryable) == ("knowledge_behind", True)
    assert "0:7" in done.error.message
    assert (await ask("swifts", at_least="new")).error.code == "input_invalid"


async def test_queries_at_once_read_on_together(log, monkeypatch):
    await tell("learn_many", documents=BIRDS)
    reads = []
    read = log.read

    async def counted(*args: Any, **more: Any) -> Any:
        reads.append(1)
        await asyncio.sleep(0)
        return await read(*args, **more)

    monkeypatch.setattr(log, "read", counted)
    answers = await asyncio.gather(*(found("swifts") for _ in range(20)))
    assert answers == [["swift"]] * 20
    assert len(reads) <= 2


@pytest.mark.parametrize("words", ['" OR 1 --', "NEAR(a b)", "swifts* AND", "title:swifts", "…"])
async def test_no_query_is_read_as_a_command(log, words):
    await tell("learn_many", documents=BIRDS)
    assert (await ask(words)).error is None


async def test_what_is_no_change_is_passed_over(log):
    for value in (b"no json", b"{}", b"\xff"):
        log.records.append(Record(0, len(log.records), "x", value))
    await tell("learn", text="Owls hunt at night.", document="owl")
    log.records.append(Record(0, len(log.records), "owl", None))  # taken back by hand
    assert await found("owls") == []
    assert (await ask("owls")).output["lag"]["position"] == "0:5"


async def test_of_two_texts_of_one_document_the_last_is_learned(log):
    texts = [{"document": "d", "text": text} for text in ("first words", "last words")]
    assert (await tell("learn_many", documents=texts)).output["documents"] == ["d"]
    done = await ask("words")
    assert [passage["text"] for passage in done.output["passages"]] == ["last words"]


@pytest.mark.parametrize("text", ["x" * 600_000, "\x01" * 400_000, '"' * 499_990])
async def test_a_text_that_is_too_long_is_refused(log, text):
    done = await tell("learn", text=text)
    assert (done.error.code, log.records) == ("text_too_long", [])


def test_two_processes_may_share_a_store(tmp_path: Path):
    one, other = (Store(tmp_path / "s.sqlite", "log") for _ in range(2))
    value = json.dumps({"change": "learned", "document": "d", "text": "hello", "at": 0}).encode()
    records = [Record(0, 0, "d", value)]
    threads = [
        threading.Thread(target=s.take, args=(records, {0: 1})) for s in (one, other, one, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (one.count(), len(other.by_words("hello", 5)), one.positions()) == (1, 1, {0: 1})


def test_a_store_of_another_log_is_begun_anew(tmp_path: Path):
    store = Store(tmp_path / "s.sqlite", "one")
    store.take([], {0: 7})
    assert Store(tmp_path / "s.sqlite", "two").positions() == {}


def test_texts_are_cut_where_it_hurts_least():
    text = "\n\n".join(["A sentence of some words. " * 30, "short", "x" * 2_500])
    cut = passages(text)
    assert all(len(passage) <= LONGEST for passage in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert passages(" \n ") == []


def test_positions_are_read_as_they_are_written():
    assert read_positions(write_positions({3: 7, 0: 12})) == {0: 12, 3: 7}


# -- meaning ---------------------------------------------------------------------------------------

AXES = (("sleep", "rest", "nap"), ("eat", "food", "fruit"), ("dusk", "evening"))


class Embeddings:
    """A server that gives vectors by the meaning of a few words."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[list[str]] = []
        self.url = ""


@pytest.fixture
def embeddings(monkeypatch) -> Iterator[Embeddings]:
    state = Embeddings()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(asked["input"])
            data = [
                {
                    "index": i,
                    "embedding": [sum(w in t.lower() for w in axis) + 0.01 for axis in AXES],
                }
                for i, t in enumerate(asked["input"])
            ]
            body = json.dumps({"data": data[::-1]}).encode()
            self.send_response(state.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("STARLINGS_KNOWLEDGE_EMBEDDING_MODEL", "tiny")
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


async def test_what_means_the_same_is_found_without_a_common_word(log, embeddings):
    await tell("learn_many", documents=BIRDS)
    done = await ask("resting birds: a nap", limit=1)
    assert done.output["ranked_by"] == "words and meaning"
    assert done.output["passages"][0]["document"] == "swift"
    await ask("evening")
    assert [len(texts) for texts in embeddings.asked] == [3, 1, 1]  # each passage once


async def test_without_vectors_words_alone_rank_and_it_is_told(log, embeddings):
    embeddings.status = 503
    await tell("learn_many", documents=BIRDS)
    done = await ask("swifts")
    assert done.output["passages"][0]["document"] == "swift"
    assert done.output["ranked_by"] == "words"
    assert "STARLINGS_KNOWLEDGE_EMBEDDING_MODEL" in done.output["lag"]["problem"]
