"""Moves of a group, against sets of offsets: what is done, what is again, what is skipped."""

from __future__ import annotations

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from starlings.kafka.offsets import Done, decode, encode, rewound_at_ms, told_at_ms
from starlings.replay.positions import Position, moved

MOST = 40


def offsets_of(done: Done, position: Position) -> set[int]:
    held = set(range(done.low))
    for first, end in done.ranges:
        held |= set(range(first, end))
    return {offset for offset in held if position.begin <= offset < position.end}


@st.composite
def positions(draw: st.DrawFn) -> Position:
    begin = draw(st.integers(0, 10))
    end = draw(st.integers(begin, MOST))
    low = draw(st.integers(begin, end))
    ranges, at = [], low
    while at < end - 2 and draw(st.booleans()):
        first = draw(st.integers(at + 1, end - 1))
        last = draw(st.integers(first + 1, end))
        ranges.append((first, last))
        at = last
    return Position(TopicPartition("t", 0), begin, end, Done(low, tuple(ranges)))


@given(positions(), st.integers(0, MOST), st.booleans())
def test_a_move_undoes_all_from_its_target_on_and_skips_only_where_it_may(
    position, target, forward
):
    move = moved(position, target, forward=forward)
    before, after = offsets_of(position.done, position), offsets_of(move.after, position)
    again = {o for first, end in move.again for o in range(first, end)}
    skipped = {o for first, end in move.skipped for o in range(first, end)}
    assert again == before - after
    assert skipped == after - before
    assert all(offset < max(target, position.begin) for offset in after)
    assert forward or not skipped
    if forward:
        assert after == set(range(position.begin, min(max(target, position.begin), position.end)))
    assert (
        moved(
            Position(position.place, position.begin, position.end, move.after),
            target,
            forward=forward,
        ).after
        == move.after
    )  # made again, it changes nothing


@given(positions(), st.integers(1, 2**45), st.integers(0, 2**45))
def test_the_mark_of_a_rewind_stands_beside_all_that_metadata_say(position, mark, at_ms):
    text = encode(position.done, at_ms=at_ms, rewound_ms=mark)
    assert decode(position.done.low, text) == position.done
    assert (told_at_ms(text), rewound_at_ms(text)) == (at_ms, mark)
    assert rewound_at_ms(encode(position.done, rewound_ms=mark)) == mark
