"""A run as it was at each of its facts, forwards and backwards; and by keys, in a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.command_line import CommandLine
from support.golden.records import (
    READER,
    golden_entries,
    golden_records,
    kafka_record,
    write_archive,
)
from support.golden.scenarios import SCENARIOS
from support.recovery.coordinator import plain
from support.terminal import Terminal

from starlings.choreography import Recorded, retell
from starlings.cli.travel_keys import place_of, travel_by_keys
from starlings.messages import ConfigError
from starlings.replay import travel as travelling
from starlings.replay.travel import Travel

RUNS = {name: name.replace("_", "-") for name in SCENARIOS}


async def travel_of(name: str, run_id: str | None = None) -> Travel:
    entries = await golden_entries(name)
    run_id = run_id or next(e.run_id for e in entries if e.run_id)
    return Travel(run_id, [entry for entry in entries if entry.run_id == run_id])


def retold(travel: Travel, number: int) -> Any:
    """Fold the facts up to one of them as every reader of the log does."""
    facts = travel.facts[: number + 1]
    return retell(
        Recorded(e.record.offset, e.record.timestamp, e.received.message)
        for e in facts
        if e.received is not None
    )


def state(run: Any) -> Any:
    return None if run is None else plain(run)


@pytest.fixture
def states_often(monkeypatch):
    """Keep a state of short runs too."""
    monkeypatch.setattr(travelling, "STATE_EVERY_LEAST", 3)


@pytest.mark.parametrize("name", [n for n in sorted(SCENARIOS) if n not in ("cancel", "carried")])
async def test_back_and_forth_the_run_is_as_it_was_after_each_fact(name, states_often):
    travel = await travel_of(name)
    last = len(travel.facts) - 1
    ways = [*range(last + 1), *range(last, -1, -1), last, 0, last // 2, last // 3]
    for number in ways:
        travel.go(number)
        assert travel.number == number
        assert state(travel.run) == state(retold(travel, number))
    assert len(travel.told) == last + 1


async def test_a_cancel_that_came_before_the_plan_ends_the_run_when_that_comes(states_often):
    travel = await travel_of("cancel", "early")
    travel.go(len(travel.facts) - 1)
    assert travel.run is not None
    assert travel.run.outcome.value == "cancelled"
    travel.go(0)
    assert travel.run is None


async def test_each_decision_and_each_ignored_fact_has_its_reason():
    for name in SCENARIOS:
        travel = await travel_of(name)
        travel.go(len(travel.facts) - 1)
        decided = [decided for told in travel.told for decided in told.decided]
        assert all(one.reason for one in decided), name
    demo = await travel_of("demo")
    demo.go(len(demo.facts) - 1)
    reasons = {one.id: one.reason for told in demo.told for one in told.decided}
    assert reasons["demo/s1/1/step_ready"] == "it depends on nothing"
    assert reasons["demo/s3/1/step_ready"] == "all that it depends on has settled: s1, s2"
    assert reasons["demo/run_done"] == "every step has settled"
    assert demo.told[-1].ignored == "the run has ended"


async def test_a_run_whose_plan_is_gone_is_seen_from_its_snapshot_on(states_often):
    whole = await travel_of("carried", "long")
    snapshots = [n for n, e in enumerate(whole.facts) if e.type == "run_snapshot"]
    as_of = whole.facts[snapshots[0]].received.message.as_of
    cut = Travel("long", [e for e in whole.facts if e.record.offset > as_of])
    last = len(cut.facts) - 1
    cut.go(0)
    assert cut.run is None or cut.facts[0].type == "run_snapshot"
    cut.go(last)
    whole.go(len(whole.facts) - 1)
    assert state(cut.run) == state(whole.run)
    cut.go(0)
    cut.go(last)
    assert state(cut.run) == state(whole.run)


async def test_what_cannot_be_read_is_told_and_changes_nothing():
    travel = await travel_of("demo")
    strange = kafka_record(
        {"offset": 1, "timestamp": 1, "headers": {"ce_subject": "demo"}, "value": None},
        value=b"\xff",
    )
    travel = Travel("demo", [travel.facts[0], await READER.read(strange), *travel.facts[1:]])
    travel.go(1)
    assert "UTF-8" in travel.told[1].ignored
    assert travel.run is not None


async def test_an_offset_that_is_not_of_the_run_names_those_that_are_near():
    travel = await travel_of("carried", "long")
    offsets = {entry.record.offset for entry in travel.facts}
    foreign = next(n for n in range(max(offsets)) if n not in offsets and n > min(offsets))
    with pytest.raises(ConfigError, match=f"offset {foreign} is not of run long: .* nearest at"):
        travel.at_offset(foreign)
    with pytest.raises(ConfigError, match="begins later"):
        travel.at_time(0)
    with pytest.raises(ConfigError, match="is about a step 'nobody'"):
        travel.at_step("nobody")


# -- by keys ---------------------------------------------------------------------------------------


async def test_keys_go_on_and_back_and_where_they_are_told():
    travel = await travel_of("demo")
    travel.go(0)
    seen: list[int] = []
    keys = iter(["n", "\x1b[C", "p", "$", "n", "0", "p", "g", "g", "g", "g", "?", "x", "q"])
    words = iter(["5", "s3", "nonsense", ""])

    def key() -> str:
        seen.append(travel.number)
        return next(keys)

    out = io.StringIO()
    travel_by_keys(travel, Console(file=out, width=80), key, lambda: next(words))
    assert seen == [0, 1, 2, 1, 10, 10, 0, 0, 5, 6, 6, 6, 6, 6]
    said = out.getvalue()
    for words_said in ("first fact", "after the last fact", "is no offset", "jump", "releases s3"):
        assert words_said in said


async def test_places_are_named_by_offset_step_or_time():
    travel = await travel_of("demo")
    travel.go(0)
    assert place_of(travel, "7") == 7
    assert place_of(travel, "s2") == 2
    assert place_of(travel, "2100-01-01T00:00:00+00:00") == 10


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return str(write_archive(tmp_path / "demo.jsonl", golden_records("demo")))


def test_into_a_pipe_every_fact_is_a_line(starlings: CommandLine, archive: str):
    assert starlings("replay", "travel", "demo", "--from", archive) == 0
    lines = starlings.stdout.splitlines()
    assert len(lines) == 11
    assert "→ releases s3: all that it depends on has settled: s1, s2" in lines[5]
    assert "ignored: the step is done" in lines[7]


def test_one_fact_is_a_page(starlings: CommandLine, archive: str):
    assert starlings("replay", "travel", "latest", "--from", archive, "--at", "5") == 0
    for words in ("fact 6 of 11", "releases s3", "2 of 3 steps settled", "demo/s3/1/step_ready"):
        assert words in starlings.stdout


def test_programs_get_the_whole_state(starlings: CommandLine, archive: str):
    assert starlings("replay", "travel", "demo", "--from", archive, "--at", "5", "--json") == 0
    document = starlings.document
    assert (document["number"], document["facts"]) == (6, 11)
    assert document["run"]["owed"] == ["demo/s3/1/step_ready"]
    assert [step["state"] for step in document["run"]["steps"]] == ["done", "done", "released"]
    assert starlings("replay", "travel", "demo", "--from", archive, "--json") == 0
    assert starlings.document["run"]["phase"] == "ended"


def test_bad_places_and_runs_are_told_in_a_line(starlings: CommandLine, archive: str):
    for words, said in (
        (("demo", "--at", "99"), "offset 99 is not of run demo"),
        (("demo", "--at", "2001-01-01"), "begins later"),
        (("demo", "--at", "soon"), "'soon' is no offset"),
        (("nobody",), "there is no run 'nobody'"),
    ):
        assert starlings("replay", "travel", *words, "--from", archive) == 2
        assert said in starlings.stderr


def test_in_a_terminal_single_keys_go_on_and_back(archive: str):
    terminal = Terminal(
        "replay", "travel", "demo", "--from", archive, TERM="xterm", COLUMNS="100", LINES="40"
    )
    try:
        for expected, key in (("fact 1 of 11", "n"), ("fact 2 of 11", "p"), ("fact 1 of 11", "q")):
            terminal.until(expected)
            terminal.type(key, enter=False)
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_json_of_a_state_can_be_read_by_programs(starlings: CommandLine, archive: str):
    assert starlings("replay", "travel", "demo", "--from", archive, "--at", "s1", "--json") == 0
    assert json.loads(starlings.stdout)["fact"]["type"] == "step_scheduled"
