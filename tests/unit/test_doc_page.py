"""What a page shows is compared with what a command says, and not with how long it took."""

from __future__ import annotations

from support.doc_page import not_said

DIFFERS = """\
≠ telescope  prices
    took 312 ms → 325 ms
    - 1.249
    + 1249.0

≠ bill  bills
    took 8 ms → 6 ms
    - 50.25 EUR
    + 1298.00 EUR
"""
TIMELINE = """\
                     0                       972 ms              1.9 s
  boxes  prices      ░░░██████████                                      543 ms
▶ telescope  prices  ░░░░████████┄┄┄┄████████    1.9 s ×2

▶ critical path  telescope → bill
  1.9 s: back-off 1.1 s (55 %), running 632 ms (33 %), queue 225 ms (12 %), held
14 ms (1 %)
"""  # noqa: RUF001 - times


def test_a_line_of_times_may_be_missing_where_both_were_the_same():
    said = "\n".join(line for line in DIFFERS.splitlines() if "took" not in line)
    assert "took" not in said
    assert not_said(DIFFERS, said) == []
    assert not_said(said, DIFFERS) == []


def test_times_beside_other_differences_may_be_missing_and_these_may_not():
    shown = "    took 59.2 s → 1 min 3 s, tokens 5 → 7\n"
    assert not_said(shown, "    tokens 5 → 7\n") == []
    assert not_said(shown, "    took 2 min → 1 h 3 min, tokens 5 → 7\n") == []
    assert not_said(shown, "    took 8 ms → 6 ms\n") == ["tokens", "5", "→", "7"]


def test_a_part_of_a_path_may_be_missing_where_it_took_no_time():
    said = TIMELINE.replace(", held\n14 ms (1 %)", "").replace("1.9 s ×2", "1 min 2 s ×2")  # noqa: RUF001
    assert not_said(TIMELINE, said) == []
    assert not_said(TIMELINE, said.replace("telescope → bill", "boxes → bill")) == ["telescope"]


def test_a_run_may_have_said_more_often_that_it_was_at_work():
    shown = "the same  10 records, 1 run, 2 decisions compared\n"
    assert not_said(shown, shown.replace("10", "11")) == []
    assert not_said(shown, shown.replace("2 decisions", "3 decisions")) == ["2"]


def test_what_a_command_has_not_said_is_named():
    said = DIFFERS.replace("1249.0", "1.249")
    assert not_said(DIFFERS, said) == ["1249.0"]
    assert not_said(DIFFERS, DIFFERS.replace("≠ bill", "= bill")) == ["≠"]
