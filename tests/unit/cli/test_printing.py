from __future__ import annotations

import io
from datetime import datetime

import pytest
import typer
from rich.console import Console
from support.runs import Story

from starlings.choreography import Phase
from starlings.cli.exits import exit_of
from starlings.cli.printing import clean, print_json, print_table, printable
from starlings.cli.story import plan_tree, shown_value, step_table
from starlings.cli.times import duration_text, iso, moment_text, parse_duration, parse_time
from starlings.client import RunView
from starlings.messages import ErrorInfo, RunDone


def screen(width: int, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False
    )


def lines(console: Console) -> list[str]:
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("5 min", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("90", 90),
    ],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0", "5 parsecs", "1e3s", "inf", "99999999d"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(typer.BadParameter, match="1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (1.25, "1.2 s"),
        (59.9, "59.9 s"),
        (75, "1 min 15 s"),
        (120, "2 min"),
        (3_700, "1 h 1 min"),
        (7_200, "2 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_written_with_the_two_units_that_matter(seconds, text):
    assert duration_text(seconds) == text


def test_a_time_without_a_zone_is_local():
    assert parse_time("2026-05-01T18:00:00").tzinfo is not None
    assert parse_time("2026-05-01T18:00:00+02:00").timestamp() == 1_777_651_200
    with pytest.raises(typer.BadParameter, match="2026"):
        parse_time("tomorrow")


def test_a_moment_of_today_is_a_clock_and_another_one_a_date():
    now = datetime(2026, 5, 1, 18, 0).astimezone()
    at_ms = int(now.timestamp() * 1000)
    assert moment_text(at_ms, now) == "18:00:00"
    assert moment_text(at_ms - 86_400_000, now) == "2026-04-30 18:00"


@pytest.mark.parametrize("at_ms", [1_790_000_000_000_000, 2**63 - 1, -(2**63)])
def test_a_time_beyond_the_calendar_is_written_as_the_number_that_it_is(at_ms):
    """A producer that counts in microseconds is in the year 58,000."""
    assert moment_text(at_ms) == iso(at_ms) == f"{at_ms} ms"


def test_foreign_text_is_kept_to_one_line_without_control_characters():
    assert clean("a\n\tb\x1b[31mc\u202e") == "a b[31mc"
    assert clean("x" * 500, 10) == "x" * 9 + "…"
    assert printable("a\n\tb\x1b[31m") == "a\n\tb[31m"


def test_json_escapes_what_would_steer_a_terminal_and_stays_exact(capsys):
    print_json({"text": "ä\x9b2J\u202e\x1b"})
    assert capsys.readouterr().out == '{\n  "text": "ä\\u009b2J\\u202e\\u001b"\n}\n'


def test_a_table_keeps_its_columns_and_gives_the_rest_to_the_last_one():
    console = screen(40)
    print_table(console, ["a", "b"], [["one", "word " * 12]])
    assert all(len(line) <= 40 for line in lines(console))
    assert lines(console)[1].startswith("one  word word")
    assert len(lines(console)) > 2


def test_a_table_that_does_not_fit_puts_the_last_column_below():
    console = screen(24)
    print_table(console, ["a", "b"], [["x" * 20, "some words here"]])
    assert lines(console) == ["x" * 20, "  some words here"]


def view_of(story: Story) -> RunView:
    view = RunView("r")
    view.run = story.run
    return view


def test_a_plan_is_drawn_with_every_step_under_the_last_it_waits_for():
    console = screen(60)
    console.print(plan_tree(Story("a", "b", "c<a,b").run))
    assert lines(console) == [
        "Plan  3 steps",
        "├── a  math  do a",
        "└── b  math  do b",
        "    └── c  math  do c  (after a, b)",
    ]


def test_of_many_steps_those_at_work_are_shown_and_the_rest_is_counted():
    story = Story(*(f"s{n}" for n in range(100)))
    for step in story.run.order:
        step.phase = Phase.DONE
    story.run.order[70].phase = Phase.RUNNING
    story.run.order[80].phase = Phase.FAILED
    console = screen(60)
    console.print(step_table(view_of(story), rows=5))
    said = "\n".join(lines(console))
    assert "s70" in said
    assert "s80" in said
    assert "100 steps: 98 done, 1 running, 1 failed" in said
    assert len(lines(console)) == 5


def test_a_very_long_result_is_cut_and_says_so():
    assert shown_value("x" * 50_000).endswith(
        "(cut: 50,000 characters; `starlings output` prints all)"
    )
    assert shown_value({"a": [1, None]}) == '{"a": [1, null]}'
    assert len(shown_value("x" * 50_000, limit=None)) == 50_000


def test_exit_codes_follow_the_outcome():
    def done(outcome: str, code: str | None = None) -> RunDone:
        error = ErrorInfo(code=code, message="m") if code else None
        return RunDone(run_id="r", outcome=outcome, error=error)

    expected = {"completed": 0, "partial": 1, "failed": 1, "rejected": 3, "cancelled": 4}
    assert {name: exit_of(done(name)) for name in expected} == expected
    undone = {"compensated": 1, "compensation_failed": 6}
    assert {name: exit_of(done(name)) for name in undone} == undone
    assert exit_of(done("failed", "deadline_exceeded")) == 5
    assert exit_of(done("compensated", "deadline_exceeded")) == 5
    assert exit_of(done("compensation_failed", "deadline_exceeded")) == 6
    assert exit_of(None) == 5
