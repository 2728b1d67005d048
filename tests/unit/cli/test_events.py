"""`starlings events` on archives: lists, trees, waterfalls, single records, and what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.golden.records import golden_records, kafka_record, write_archive

from starlings.replay import read_archive


@pytest.fixture
def archive(tmp_path):
    """Write a recorded log as an archive; return its path."""

    def write(name="demo", *more, begin=0):
        records = [r for r in golden_records(name) if r.offset >= begin]
        path = write_archive(tmp_path / f"{name}.jsonl", [*records, *more], begin=begin)
        return str(path)

    return write


def lines(starlings):
    return [json.loads(line) for line in starlings.stdout.splitlines()]


def test_ls_lists_the_log_and_says_in_a_line_what_each_record_says(starlings, archive):
    assert starlings("events", "ls", "--from", archive("saga")) == 0
    assert "plan_created" in starlings.stdout
    assert re.search(r"0/12 .*compensation_done.*error.*busy: call again", starlings.stdout)


def test_ls_chooses(starlings, archive):
    path = archive("saga")
    assert starlings("events", "ls", "--from", path, "--json", "--failed") == 0
    assert [line["type"] for line in lines(starlings)] == [
        "timer_fired",
        "compensation_done",
        "run_done",
    ]
    starlings("events", "ls", "--from", path, "--json", "--step", "hotel", "--type", "step_done")
    (line,) = lines(starlings)
    assert line["fact"]["output"] == {"id": "H3"}
    starlings("events", "ls", "--from", path, "--json", "--offsets", "2..3")
    assert [line["offset"] for line in lines(starlings)] == [2, 3]


def test_a_run_is_not_compared_with_itself_by_whatever_name(starlings, archive):
    path = archive("saga")
    run_id = json.loads(Path(path).read_text().splitlines()[1])["key"]
    for pair in ([run_id, run_id], ["latest", run_id], [run_id, "latest"], ["latest", "latest"]):
        assert starlings("diff", *pair, "--from", path) == 2, starlings.stdout
        assert starlings.stdout == ""
        assert "name two runs" in starlings.stderr or "name another run" in starlings.stderr


def test_ls_shows_the_latest_and_says_how_many_there_are_before_them(starlings, archive):
    assert starlings("events", "ls", "--from", archive("saga"), "--limit", "2") == 0
    assert "run_done" in starlings.stdout
    assert "plan_created" not in starlings.stdout
    assert "and 18 earlier ones" in starlings.stderr


def test_raw_lines_are_an_archives_own(starlings, archive):
    path = archive("demo")
    assert starlings("events", "ls", "--from", path, "--raw", "--json") == 0
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        assert starlings.stdout.splitlines() == file.read().splitlines()[1:-1]


def test_show_tells_a_runs_records_and_latest_is_the_one_that_began_last(starlings, archive):
    path = archive("foreach")
    assert starlings("events", "show", "latest", "--from", path, "--json") == 0
    assert {line["run_id"] for line in lines(starlings)} == {"undoing"}


def test_show_draws_a_tree_of_causes(starlings, archive):
    path = archive("saga")
    assert starlings("events", "show", "saga", "--from", path, "--tree") == 0
    drawn = starlings.stdout.splitlines()
    assert drawn[0].startswith("● plan_created")
    assert drawn[1] == "○ step_ready flight  (not read)"
    assert drawn[2].startswith("├─● step_scheduled  flight")
    starlings("events", "show", "saga", "--from", path, "--tree", "--json")
    causes = {node["id"]: node["cause"] for node in starlings.document}
    assert causes["saga/flight/1/step_done"] == "saga/flight/1/step_ready"


def test_times_in_a_tree_count_from_the_first_record_also_where_its_cause_was_not_read(
    starlings, archive
):
    line = {"offset": 0, "timestamp": 1_790_000_000_000, "value": {"run_id": "r"}}
    headers = {"ce_subject": "r", "ce_type": "starlings.pause_requested.v1", "ce_id": "r/p"}
    first = kafka_record(line | {"headers": headers | {"ce_causationid": "r/run_requested"}})
    path = str(write_archive(Path(archive()).with_name("r.jsonl"), [first]))
    assert starlings("events", "show", "r", "--from", path, "--tree") == 0
    assert starlings.stdout.splitlines() == [
        "○ run_requested  (not read)",
        "● pause_requested  +0.000 s",
    ]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_show_draws_a_waterfall_to_the_width_of_the_terminal(
    starlings, archive, monkeypatch, width
):
    monkeypatch.setenv("COLUMNS", str(width))
    assert starlings("events", "show", "saga", "--from", archive("saga"), "--timeline") == 0
    drawn = starlings.stdout.splitlines()
    assert max(map(len, drawn)) <= width
    bars = [line for line in drawn if "█" in line and line.startswith("▶ hotel")]
    assert bars[0].count("█") > width // 4
    assert "critical path  flight → hotel → undo car → undo flight" in starlings.stdout
    assert "back-off 1.1 s (2 %)" in " ".join(starlings.stdout.split())


def test_a_waterfall_is_data_for_programs(starlings, archive):
    path = archive("saga")
    starlings("events", "show", "saga", "--from", path, "--timeline", "--json")
    told = starlings.document
    assert sum(told["shares_ms"].values()) == told["duration_ms"]
    assert {step["step_id"] for step in told["steps"] if step["critical"]} == {
        "flight",
        "hotel",
        "car",
    }


@pytest.mark.parametrize("what", ["0/2", "events/0/2", "starlings.events/0/2"])
def test_show_shows_the_record_at_a_place(starlings, archive, what):
    assert starlings("events", "show", what, "--from", archive("saga")) == 0
    assert "saga/flight/1/step_done" in starlings.stdout
    assert '"id": "F7"' in starlings.stdout


def test_show_shows_a_record_by_its_id_also_raw(starlings, archive):
    path = archive("saga")
    assert starlings("events", "show", "saga/car/1/step_done", "--from", path) == 0
    assert starlings("events", "show", "saga/car/1/step_done", "--from", path, "--raw") == 0
    assert "ce_type" in starlings.stdout
    assert '"output":{"id":"C1"}' in starlings.stdout


def test_a_run_whose_beginning_was_deleted_is_told_as_such_with_what_may_help(starlings, archive):
    path = archive("saga", begin=5)
    assert starlings("events", "ls", "--run", "saga", "--from", path) == 0
    assert "complete are starlings.events/0 from offset 5" in starlings.stderr
    assert "--from FILE" in starlings.stderr
    assert starlings("events", "show", "saga", "--timeline", "--from", path) == 1
    assert "the log has no plan of run saga" in starlings.stderr


def test_a_run_that_began_after_what_was_deleted_lacks_nothing(starlings, archive):
    path = archive("foreach", begin=5)
    starlings("events", "ls", "--run", "undoing", "--from", path)
    assert starlings.stderr == ""


def test_foreign_and_broken_messages_are_shown_as_what_they_are(starlings, archive):
    line = {"offset": 90, "timestamp": 1_790_000_100_000, "value": {}}
    foreign = kafka_record(
        line | {"headers": {"ce_subject": "demo"}},
        headers=(("ce_type", b"com.example.\x1b[31mthing"), ("ce_subject", b"demo")),
    )
    broken = kafka_record(
        line | {"offset": 91, "headers": {"ce_subject": "demo"}},
        headers=(("ce_type", b"starlings.step_done.v1"), ("ce_subject", b"demo")),
        value=b"{\xff",
    )
    path = archive("demo", foreign, broken)
    assert starlings("events", "show", "demo", "--from", path) == 0
    assert "foreign, or of a later version: com.example.[31mthing" in starlings.stdout
    assert "the value is not UTF-8" in starlings.stdout
    for picture in ("--tree", "--timeline", "--raw"):
        assert starlings("events", "show", "demo", "--from", path, picture) == 0
        assert "\x1b" not in starlings.stdout
    starlings("events", "ls", "--from", path, "--step", "s1")
    assert "cannot be read" in starlings.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["ls", "--type", "step_dnoe"], "did you mean step_done?"),
        (["ls", "--since", "1h", "--until", "2h"], "--since lies after --until"),
        (["ls", "--offsets", "9..3"], "end before they begin"),
        (["tail", "--outcome", "oky"], "did you mean ok?"),
        (["export", "-o", "x", "--type", "run_dun"], "did you mean run_done?"),
        (["show", "nothing"], "there is no record of run 'nothing'"),
        (["show", "0/900"], "there is no record '0/900'"),
        (["show", "demo/s9/1/step_done"], "there is no record 'demo/s9/1/step_done'"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_told_and_ends_with_2(
    starlings, archive, argv, said
):
    assert starlings("events", *argv, "--from", archive()) == 2
    assert said in starlings.stderr
    assert starlings.stdout == ""


def test_tail_of_an_archive_is_its_last_records(starlings, archive):
    path = archive("demo")
    assert starlings("events", "tail", "--from", path, "--last", "2", "--json") == 0
    last = golden_records("demo")[-2:]
    assert [line["offset"] for line in lines(starlings)] == [record.offset for record in last]


def test_export_chooses_from_an_archive_and_says_so_in_the_file(starlings, archive, tmp_path):
    path, part = archive("foreach"), str(tmp_path / "part.jsonl.gz")
    assert starlings("events", "export", "--from", path, "--run", "undoing", "-o", part) == 0
    assert re.match(r"exported  \d+ records, [\d,]+ bytes → ", starlings.stdout)
    header = read_archive(part).header
    assert header.model_extra == {"selected": {"runs": ["undoing"]}}
    starlings("events", "show", "undoing", "--from", part, "--json")
    told = starlings.stdout
    starlings("events", "show", "undoing", "--from", path, "--json")
    assert starlings.stdout == told


def test_export_replaces_no_file_unless_told(starlings, archive):
    path = archive("demo")
    assert starlings("events", "export", "--from", archive("saga"), "-o", path) == 2
    assert "--force" in starlings.stderr
    assert starlings("events", "export", "--from", archive("saga"), "-o", path, "--force") == 0
    assert read_archive(path).header.prefix == "starlings."


def test_export_to_standard_output_is_an_archive(starlings, archive, tmp_path):
    assert starlings("events", "export", "--from", archive("demo"), "-o", "-") == 0
    (tmp_path / "copy.jsonl").write_text(starlings.stdout)
    records = list(read_archive(tmp_path / "copy.jsonl"))
    assert [r.value for r in records] == [r.value for r in golden_records("demo")]


def without(path, kept):
    """Drop records from an archive, so that its count is right all the same."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        head, *body, _ = file.read().splitlines(keepends=True)
    body = [line for number, line in enumerate(body) if kept(number)]
    end = json.dumps({"end": True, "records": len(body)}) + "\n"
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.writelines([head, *body, end])
    return path


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (lambda n: n not in (3, 4), "starlings.events/0 3..4"),
        (lambda n: n > 1, "starlings.events/0 0..1"),
        (lambda n: n < 18, "starlings.events/0 18..19"),
    ],
    ids=["within", "at the beginning", "at the end"],
)
def test_an_import_of_a_log_with_a_gap_is_refused_before_anything_is_written(
    starlings, archive, gap, said
):
    path = without(archive("saga"), gap)
    assert starlings("events", "import", path, "--prefix", "copy.") == 1
    assert f"records are missing: {said}" in starlings.stderr
    assert "nothing was imported" in starlings.stderr


def test_an_import_of_a_file_that_was_cut_off_writes_nothing(starlings, archive):
    path = archive("saga")
    with open(path, "r+b") as file:  # noqa: PTH123
        file.truncate(5_000)
    assert starlings("events", "import", path, "--prefix", "copy.") == 1
    assert "the file was cut off" in starlings.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "say where to: --prefix copy."),
        (["--prefix", "starlings."], "is the prefix of"),
        (["--prefix", "no good"], "has characters that Kafka forbids"),
    ],
)
def test_an_import_never_goes_to_topics_in_use_by_itself(starlings, archive, argv, said):
    assert starlings("events", "import", archive("saga"), *argv) == 2
    assert said in starlings.stderr


def test_an_archive_that_was_cut_off_is_named_with_its_line(starlings, archive):
    path = archive()
    with open(path, "r+b") as file:  # noqa: PTH123
        file.truncate(3_000)
    assert starlings("events", "ls", "--from", path) == 1
    assert "the file was cut off" in starlings.stderr
