"""Watermark and done-set of one partition: the cases worth reading as examples."""

from __future__ import annotations

import pytest

from starlings.kafka.offsets import (
    Done,
    ForeignMetadata,
    Offsets,
    decode,
    encode,
    merge,
    rewound_at_ms,
    told_at_ms,
)


def delivered(low: int, *offsets: int) -> Offsets:
    tracker = Offsets(Done(low))
    for offset in offsets:
        tracker.deliver(offset)
    return tracker


def test_the_watermark_waits_for_the_slowest_and_then_jumps_over_all_that_is_done():
    tracker = delivered(0, 0, 1, 2, 3)
    for offset in (1, 3, 2):
        tracker.finish(offset)
    assert tracker.done == Done(0, ((1, 4),))
    tracker.finish(0)
    assert tracker.done == Done(4)


def test_offsets_that_never_appear_hold_back_nothing():
    tracker = delivered(0, 0, 5, 9)
    tracker.finish(9)
    assert tracker.done == Done(0, ((6, 10),))
    tracker.finish(5)
    tracker.finish(0)
    assert tracker.done == Done(10)


def test_a_log_that_begins_behind_the_commit_moves_the_watermark_at_once():
    assert delivered(5, 20).low == 20


def test_positions_without_records_are_passed_only_when_nothing_is_pending():
    tracker = delivered(0, 0)
    tracker.skip_to(7)
    assert tracker.low == 0
    tracker.finish(0)
    tracker.skip_to(7)
    assert (tracker.low, tracker.position) == (7, 7)


def test_what_the_metadata_knows_is_not_delivered_again():
    tracker = Offsets(Done(4, ((6, 8), (9, 10))))
    assert [o for o in range(4, 12) if tracker.deliver(o)] == [4, 5, 8, 10, 11]
    for offset in (4, 5, 8):
        tracker.finish(offset)
    assert tracker.low == 10


def test_a_done_range_whose_first_offsets_are_gone_does_not_block_the_watermark():
    tracker = Offsets(Done(5, ((6, 9),)))
    assert not tracker.deliver(7)
    assert tracker.deliver(9)
    tracker.finish(9)
    assert tracker.done == Done(10)


def test_what_finishes_before_it_is_fetched_again_needs_nothing_when_it_is():
    tracker = Offsets(Done(0))
    tracker.finish(1)
    assert [o for o in range(3) if tracker.deliver(o)] == [0, 2]
    assert tracker.done == Done(0, ((1, 2),))
    tracker.finish(0)
    assert tracker.low == 2


def test_finishing_twice_changes_nothing():
    tracker = delivered(0, 0, 1)
    tracker.finish(1)
    before = (tracker.done, tracker.version)
    tracker.finish(1)
    assert (tracker.done, tracker.version) == before


def test_two_memories_of_one_partition_unite():
    ours = Done(3, ((5, 7), (10, 12)))
    theirs = Done(5, ((7, 8), (11, 14)))
    assert merge(ours, theirs) == Done(8, ((10, 14),))


def test_metadata_that_does_not_fit_loses_its_far_end_only():
    done = Done(0, tuple((n * 10 + 5, n * 10 + 6) for n in range(5_000)))
    text = encode(done, limit=300)
    assert len(text) <= 300
    kept = decode(0, text).ranges
    assert kept == done.ranges[: len(kept)]
    assert len(kept) > 50


def test_metadata_may_say_when_they_were_written():
    done = Done(3, ((5, 7),))
    stamped = encode(done, at_ms=1_700_000_000_000)
    assert decode(3, stamped) == done
    assert told_at_ms(stamped) == 1_700_000_000_000
    assert decode(3, encode(done)) == done
    assert [told_at_ms(text) for text in ("", encode(done), "s1:3@x:", "foreign")] == [0, 0, 0, 0]


def test_no_metadata_is_an_empty_set():
    assert decode(7, "") == Done(7)


@pytest.mark.parametrize(
    "metadata",
    [
        "whatever another tool wrote",
        "s1:8:AQE=",  # for another offset
        "s2:7:AQE=",
        "s1:7:not base64",
        "s1:7:gA==",  # ends within a number
        "s1:7:AQ==",  # a pending run without a done one
        "s1:7:AAE=",  # a run of nothing
        "s1:7:////////////////",  # a number without end
    ],
)
def test_foreign_and_corrupt_metadata_are_not_believed(metadata):
    with pytest.raises(ForeignMetadata):
        decode(7, metadata)


def test_metadata_that_are_not_ours_carry_no_mark_of_a_rewind():
    assert [rewound_at_ms(text) for text in ("", "s1:3@5:", "s9:3~7:", "s1:3~x:", "x~9")] == [0] * 5
    assert rewound_at_ms("s1:3@5~7:") == 7
