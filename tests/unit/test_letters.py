"""What becomes of a dead letter, told by its topic in whatever order."""

from __future__ import annotations

import itertools

import pytest
from aiokafka import ConsumerRecord

from starlings.kafka.dead_letters import written_headers
from starlings.kafka.letters import Letters, LetterState
from starlings.kafka.partition import id_of
from starlings.messages import (
    DeadLetterDiscarded,
    DeadLetterRedriven,
    ErrorInfo,
    Origin,
    Topics,
    read_origin,
    read_redrive_mark,
    redrive_mark,
)

TOPIC = "starlings.steps.math"
FIRST = Origin(TOPIC, 0, 5)
GRAVES = Topics().dead_letters


def record(value=b"{}", headers=(), *, offset=0, at_ms=1_000, topic=GRAVES):
    return ConsumerRecord(
        topic, 0, offset, at_ms, 0, b"k", value, None, 1, len(value or b""), tuple(headers)
    )


def burial(lay: Origin = FIRST, *, mark: bytes | None = None, code="bad_message", **where):
    own = [("starlings_redrive", mark)] if mark else []
    added = [
        ("starlings_error_code", code.encode()),
        ("starlings_error_message", b"it is bad"),
        ("starlings_origin", str(lay).encode()),
        ("starlings_origin_key", b"r1/s1"),
    ]
    return record(b"{}", [*own, ("ce_id", b"r1/s1/1/step_ready"), *added], **where)


def redriven(count=1, **where):
    said = DeadLetterRedriven(origin=str(FIRST), count=count, to=f"{TOPIC}/0/9", by="ada")
    return record(said.model_dump_json().encode(), [("ce_type", said.CE_TYPE.encode())], **where)


def discarded(count=0, **where):
    said = DeadLetterDiscarded(origin=str(FIRST), count=count, reason="made by hand")
    return record(said.model_dump_json().encode(), [("ce_type", said.CE_TYPE.encode())], **where)


def again(count=1, offset=9, **where):
    return burial(Origin(TOPIC, 0, offset), mark=redrive_mark(FIRST, count), **where)


def fold(*records) -> Letters:
    letters = Letters()
    for each in records:
        letters.add(each)
    return letters


@pytest.mark.parametrize(
    ("records", "state", "redrives"),
    [
        ([burial()], "open", 0),
        ([burial(), burial(offset=1)], "open", 0),
        ([burial(), redriven()], "redriven", 1),
        ([burial(), redriven(), burial(offset=3)], "redriven", 1),
        ([burial(), redriven(), again()], "open", 1),
        ([burial(), again()], "open", 1),
        ([burial(), redriven(), again(), redriven(2)], "redriven", 2),
        ([burial(), discarded()], "discarded", 0),
        ([burial(), discarded(), redriven()], "redriven", 1),
        ([burial(), discarded(), redriven(), again()], "open", 1),
        ([burial(), redriven(), again(), discarded(1)], "discarded", 1),
        ([burial(), redriven(), discarded(1)], "redriven", 1),
    ],
)
def test_the_state_follows_from_what_happened_in_whatever_order_it_is_read(
    records, state, redrives
):
    for order in itertools.permutations(records):
        (letter,) = fold(*order)
        assert (letter.id, letter.state, letter.redrives) == (str(FIRST), state, redrives)


def test_the_history_tells_each_burial_and_decision_with_its_time():
    records = [burial(at_ms=1), redriven(at_ms=2), again(at_ms=3), discarded(1, at_ms=4)]
    (letter,) = fold(*records)
    told = [(e.at_ms, e.what, e.said, e.by) for e in letter.history()]
    assert told == [
        (1, "buried", "bad_message: it is bad", ""),
        (2, "redriven", f"{TOPIC}/0/9", "ada"),
        (3, "buried", "bad_message: it is bad", ""),
        (4, "discarded", "made by hand", ""),
    ]
    assert letter.last.origin == Origin(TOPIC, 0, 9)


def test_what_was_written_to_the_dead_letters_is_known_by_its_place_there_also_when_repeated():
    def written(number, offset):
        ident = f"r1/s1/1/dead_letter/{number}".encode()
        reason = ErrorInfo(code="late", message="too late")
        headers = written_headers(reason, topic=TOPIC, key=b"r1/s1")
        return record(b"{}", [("ce_id", ident), ("ce_subject", b"r1"), *headers], offset=offset)

    said = DeadLetterDiscarded(origin=f"{GRAVES}/0/3", count=0, reason="undone by hand")
    mark = record(said.model_dump_json().encode(), [("ce_type", said.CE_TYPE.encode())], offset=9)
    first, second = fold(mark, written(1, 3), written(1, 4), written(2, 5))
    assert (first.id, first.state, len(first.burials)) == (f"{GRAVES}/0/3", "discarded", 1)
    assert (second.id, second.state) == (f"{GRAVES}/0/5", "open")
    assert second.run_id(Topics()) == "r1"
    assert second.last.key == b"r1/s1"


def test_open_letters_are_counted():
    letters = fold(burial(), burial(Origin(TOPIC, 1, 5)), burial(Origin(TOPIC, 2, 5)), redriven())
    assert letters.open == 2
    assert [letter.state for letter in letters].count(LetterState.REDRIVEN) == 1


@pytest.mark.parametrize(
    "mark",
    [
        b"starlings.steps.math/0/10#1",  # lies behind it
        b"starlings.steps.math/1/5#1",
        b"starlings.steps.other/0/5#1",
        b"starlings.steps.math/0/5#0",
        b"starlings.steps.math/0/5#99999999999",
        b"\xff",
        b"",
    ],
)
def test_a_mark_that_no_redrive_can_have_left_makes_a_letter_of_its_own(mark):
    letters = fold(burial(), burial(Origin(TOPIC, 0, 9), mark=mark))
    assert {letter.id: letter.redrives for letter in letters} == {
        f"{TOPIC}/0/5": 0,
        f"{TOPIC}/0/9": 0,
    }


@pytest.mark.parametrize(
    "stray",
    [
        record(b"anything"),
        record(None, [("ce_type", DeadLetterRedriven.CE_TYPE.encode())]),
        record(b"no json", [("ce_type", DeadLetterRedriven.CE_TYPE.encode())]),
        record(b'{"origin": "x", "count": 1}', [("ce_type", DeadLetterRedriven.CE_TYPE.encode())]),
        record(b'{"origin": "x"}', [("ce_type", DeadLetterDiscarded.CE_TYPE.encode())]),
        record(b"{}", [("starlings_origin", b"../etc/passwd")]),
        redriven(),  # of a letter that retention has taken
    ],
)
def test_what_is_no_letter_and_marks_of_unknown_ones_are_passed_over(stray):
    assert list(fold(stray)) == []
    assert fold(stray).find(FIRST) is None


def test_the_run_is_known_from_the_subject_or_else_the_key():
    (letter,) = fold(burial())
    assert letter.run_id(Topics()) == "r1"
    said = burial()
    named = record(b"", [("ce_subject", b"r7"), *said.headers])
    (letter,) = fold(named)
    assert letter.run_id(Topics()) == "r7"


def test_a_message_sent_back_is_no_repeat_of_the_buried_one_but_of_itself():
    plain = [("ce_id", b"r1/s1/1/step_ready")]
    first, second = ([("starlings_redrive", redrive_mark(FIRST, n)), *plain] for n in (1, 2))
    ids = [id_of(record(headers=h, topic=TOPIC)) for h in (plain, first, first, second)]
    assert ids[0] != ids[1] == ids[2] != ids[3]
    bare = [[("starlings_redrive", redrive_mark(FIRST, 1))]] * 2
    assert len({id_of(record(headers=h, offset=n)) for n, h in enumerate(bare)}) == 1


def test_places_and_marks_are_read_as_they_are_written():
    assert read_origin(str(FIRST)) == FIRST
    assert read_redrive_mark(redrive_mark(FIRST, 3)) == (FIRST, 3)
    assert read_redrive_mark(None) is None
    assert read_origin("a/b/c") is None
