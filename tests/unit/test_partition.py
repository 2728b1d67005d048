"""A partition's book-keeping and the watchdog: the cases that their property tests do not name."""

from __future__ import annotations

from aiokafka import ConsumerRecord, TopicPartition

from starlings.kafka.offsets import Done, rewound_at_ms
from starlings.kafka.partition import Inheritance, Limits, Partition, id_of
from starlings.kafka.recent_ids import RecentIds, Window
from starlings.kafka.watchdog import Watchdog

TP = TopicPartition("t", 0)


def record(offset: int, *headers: tuple[str, bytes | None]) -> ConsumerRecord:
    return ConsumerRecord("t", 0, offset, 0, 0, None, b"{}", None, 0, 2, headers)


def opened(low: int = 0) -> Partition:
    partition = Partition(TP, window=Window(), limits=Limits(queue=3))
    partition.reopen(Done(low), RecentIds(Window(), end=low))
    return partition


def test_a_record_without_a_usable_id_is_known_by_its_place():
    assert id_of(record(7)) == b"t/0/7"
    assert id_of(record(7, ("ce_id", None))) == b"t/0/7"
    assert id_of(record(7, ("x", b"1"), ("ce_id", b"r1/plan"))) == b"r1/plan"


def test_a_partition_is_wanted_until_its_queue_is_full():
    partition = opened()
    partition.take_in([record(0), record(1)])
    assert partition.wanted
    partition.take_in([record(2), record(3)])
    assert not partition.wanted
    assert partition.queued_bytes == 8
    assert partition.next_record().offset == 0
    assert partition.next_record().offset == 1
    assert partition.wanted


def test_a_log_that_goes_on_at_a_smaller_offset_is_handled_from_there():
    partition = opened(100)
    partition.take_in([record(100), record(101)])
    partition.next_record()
    intake = partition.take_in([record(5), record(6)])
    assert intake.rewound
    assert [partition.next_record().offset, partition.next_record().offset] == [5, 6]
    partition.finish(100)  # of the log that is gone
    assert partition.to_commit().offset == 5
    partition.finish(5)
    assert partition.to_commit().offset == 6


def test_a_hole_in_the_log_is_reported():
    assert opened(3).take_in([record(3), record(503)]).hole == 499


def test_a_commit_made_for_an_earlier_assignment_settles_nothing():
    partition = opened()
    partition.take_in([record(0)])
    partition.next_record()
    partition.finish(0)
    late = partition.to_commit()
    partition.suspend()
    partition.reopen(Done(0), partition.ids)
    partition.committed(late)
    assert partition.to_commit().offset == 1


def test_silence_is_suspicious_only_where_something_was_asked_for_long_enough():
    other = TopicPartition("t", 1)
    watchdog = Watchdog(10)
    assert watchdog.suspects([TP, other], 0) == []
    assert watchdog.suspects([TP], 9) == []  # the other one had enough for a while
    watchdog.arrived(TP)
    assert watchdog.suspects([TP, other], 12) == []
    assert watchdog.suspects([TP, other], 22) == [TP, other]
    assert watchdog.silent(TP)
    watchdog.arrived(TP)
    assert not watchdog.silent(TP)


def test_a_member_that_was_away_while_its_group_was_rewound_forgets_what_it_knew_to_be_done():
    partition = opened()
    partition.take_in([record(0), record(1)])
    for _ in range(2):
        partition.finish(partition.next_record().offset)
    assert partition.to_commit().offset == 2
    partition.inherit(Inheritance(2, 0, 1))

    partition.suspend()
    partition.heed(7)
    partition.reopen(Done(0), partition.ids)
    assert partition.doubtful  # others may have been at work on it
    assert partition.take_in([record(0), record(1)]).queued == 2
    partition.finish(partition.next_record().offset)
    assert rewound_at_ms(partition.to_commit().metadata) == 7  # for those who come back later still

    partition.suspend()
    partition.heed(7)  # the same rewind: nothing is forgotten
    partition.reopen(Done(0), partition.ids)
    assert partition.offsets.low == 1
