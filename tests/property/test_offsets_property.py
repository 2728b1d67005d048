"""Watermark and done-set against a model that remembers every single offset."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from starlings.kafka.offsets import BROKER_LIMIT, Done, Offsets, decode, encode, merge


@st.composite
def logs(draw: st.DrawFn) -> list[int]:
    """Draw the offsets that exist in a partition: with holes of any size."""
    steps = draw(st.lists(st.one_of(st.just(1), st.integers(1, 300)), min_size=1, max_size=60))
    offsets, at = [], draw(st.integers(0, 2**40))
    for step in steps:
        offsets.append(at)
        at += step
    return offsets


@st.composite
def done_sets(draw: st.DrawFn) -> Done:
    low = draw(st.integers(0, 2**50))
    lengths = draw(st.lists(st.tuples(st.integers(1, 2**20), st.integers(1, 2**20)), max_size=40))
    ranges, at = [], low
    for pending, done in lengths:
        ranges.append((at + pending, at + pending + done))
        at += pending + done
    return Done(low, tuple(ranges))


def inside(done: Done, offset: int) -> bool:
    return offset < done.low or any(start <= offset < end for start, end in done.ranges)


@given(done_sets())
def test_metadata_comes_back_as_it_was_written(done):
    text = encode(done)
    assert len(text) <= BROKER_LIMIT
    assert decode(done.low, text) == done


@given(done_sets(), done_sets())
def test_a_union_knows_what_either_knows_and_nothing_else(first, second):
    both = merge(first, second)
    for done in (first, second, both):
        for edge in (done.low, *(edge for pair in done.ranges for edge in pair)):
            for offset in (edge - 1, edge, edge + 1):
                assert inside(both, offset) == (inside(first, offset) or inside(second, offset))
    assert decode(both.low, encode(both, limit=10**6)) == both


@settings(max_examples=300)
@given(logs(), st.data())
def test_any_order_of_completion_with_crashes_in_between_finishes_each_record_once(log, data):
    """Crash at random moments, start again from the metadata with other records gone."""
    finished: set[int] = set()
    committed = Done(log[0])
    for _ in range(6):
        tracker = Offsets(committed)
        gone = {o for o in finished if data.draw(st.booleans(), label=f"{o} compacted away")}
        todo = [o for o in log if o >= committed.low and o not in gone and tracker.deliver(o)]
        assert set(todo) == set(log) - finished
        order = data.draw(st.permutations(todo), label="order of completion")
        for offset in order[: data.draw(st.integers(0, len(order)), label="crash after")]:
            tracker.finish(offset)
            finished.add(offset)
            unfinished = [o for o in log if o not in finished]
            assert tracker.low <= (unfinished[0] if unfinished else log[-1] + 1)
            assert all(inside(tracker.done, o) == (o in finished) for o in log)
            assert tracker.runs <= tracker.pending
        committed = decode(tracker.low, tracker.encoded())
    tracker = Offsets(committed)
    for offset in log:
        if tracker.deliver(offset):
            tracker.finish(offset)
    assert tracker.done == Done(max(log[-1] + 1, committed.low))
