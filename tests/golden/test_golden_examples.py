"""What the examples wrote on Kafka is verified by today's code, with the work of their agents."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden.archives import CODEC, Records, verified
from support.golden.records import golden_records

from starlings.messages import Topics
from starlings.replay import ArchiveSource, read_archive
from starlings.replay.verify import verify

EXAMPLES = Path(__file__).parents[2] / "examples"
ARCHIVES = Path(__file__).parent / "examples"
LOGS = Path(__file__).parent / "logs"
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in ARCHIVES.glob("*.jsonl.gz"))
STORIES = sorted(path.stem for path in LOGS.glob("*.jsonl") if path.stem != "altered")
UNPLANNED = ("support_tickets",)  # events that agents hear: a coordinator decides nothing


async def verify_archive(name: str, *, change=None):
    source = ArchiveSource(read_archive(ARCHIVES / f"{name}.jsonl.gz"))
    topics = Topics(source.archive.header.prefix)
    read = source
    if change is not None:
        read = Records([change(record) async for record in source.records()])
    return await verify(read, topics=topics, codec=CODEC, steps=lambda: read)


def test_every_example_has_been_recorded():
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert folders <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_an_example_is_decided_as_it_was(name):
    found = await verify_archive(name)
    assert (found.differences, found.unjudged) == ([], {})
    if name not in UNPLANNED:
        assert found.counts.same >= 1
        assert found.counts.steps >= 1
        assert found.counts.decisions >= 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNPLANNED])
async def test_an_example_whose_work_was_altered_fails(name):
    def alter(record):
        is_work = b"step_ready" in dict(record.headers).get("ce_type", b"")
        if not is_work:
            return record
        value = record.value.replace(b'"generation":0', b'"generation":9', 1)
        return record.__class__(**{**record.__dict__, "value": value})

    found = await verify_archive(name, change=alter)
    assert found.differences
    assert all(difference.path == "generation" for difference in found.differences)
    assert found.differences[0].published == 9


@pytest.mark.parametrize("name", STORIES)
async def test_a_story_is_verified(name):
    found = await verified(golden_records(name))
    assert (found.differences, found.unjudged) == ([], {})


async def test_the_story_that_was_altered_fails():
    (difference,) = (await verified(golden_records("altered"))).differences
    assert (difference.id, difference.path) == ("demo/run_done", "text")
