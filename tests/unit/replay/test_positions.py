"""Where moves put a group: the cases worth reading as examples."""

from __future__ import annotations

from aiokafka import TopicPartition

from starlings.kafka.offsets import Done
from starlings.replay.positions import Position, moved

PLACE = TopicPartition("steps.math", 0)


def position(low: int, *ranges: tuple[int, int], begin: int = 0, end: int = 100) -> Position:
    return Position(PLACE, begin, end, Done(low, ranges))


def test_moving_back_makes_all_from_the_target_on_undone():
    move = moved(position(50, (60, 70)), 20)
    assert move.after == Done(20)
    assert move.again == ((20, 50), (60, 70))
    assert move.skipped == ()
    assert move.changes


def test_a_group_that_has_not_come_so_far_stays_but_forgets_what_it_did_out_of_order():
    move = moved(position(10, (20, 30), (40, 50)), 25)
    assert move.after == Done(10, ((20, 25),))
    assert move.again == ((25, 30), (40, 50))
    assert move.skipped == ()


def test_a_group_that_lags_behind_the_target_is_not_moved():
    move = moved(position(10), 25)
    assert not move.changes
    assert (move.again, move.skipped) == ((), ())


def test_moving_forward_has_to_be_asked_for_and_gives_up_what_lies_between():
    move = moved(position(10, (20, 30), (40, 50)), 45, forward=True)
    assert move.after == Done(45)
    assert move.skipped == ((10, 20), (30, 40))
    assert move.again == ((45, 50),)


def test_a_target_that_retention_has_deleted_means_the_earliest_record_that_is_left():
    move = moved(position(50, begin=30), 5)
    assert move.cut
    assert move.after == Done(30)
    assert move.again == ((30, 50),)


def test_a_commit_beyond_the_log_counts_as_far_as_the_log_reaches():
    assert moved(position(100, end=100), 100).again == ()
    assert position(10, (20, 30), end=40).pending == 20
    assert position(0, begin=5, end=40).pending == 35
