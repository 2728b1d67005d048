"""A partition's book-keeping under any order of fetches, ends, crashes of tasks and rebalances."""

from __future__ import annotations

from aiokafka import ConsumerRecord, TopicPartition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from starlings.kafka.offsets import Done, decode
from starlings.kafka.partition import Limits, Partition
from starlings.kafka.recent_ids import RecentIds, Window

TP = TopicPartition("t", 0)
WINDOW = Window(window_s=10**6, at_least=10**6, at_most=10**7)
ALWAYS = 10


def record(offset: int, message_id: int) -> ConsumerRecord:
    headers = (("ce_id", b"m%d" % message_id),)
    return ConsumerRecord("t", 0, offset, 0, 0, None, b"{}", None, 0, 2, headers)


class PartitionLife(RuleBasedStateMachine):
    """What the model knows: the log, what runs, what has finished, what the group committed."""

    @initialize(steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 30)), min_size=1))
    def begin(self, steps):
        self.log, at = [], 0
        for step, message_id in steps:
            self.log.append(record(at, message_id))
            at += step
        firsts: dict[bytes, int] = {}
        for entry in self.log:
            firsts.setdefault(entry.headers[0][1], entry.offset)
        self.work = set(firsts.values())
        self.running: dict[int, ConsumerRecord] = {}
        self.finished: set[int] = set()
        self.committed = Done(0)
        self.partition = Partition(TP, window=WINDOW, limits=Limits(queue=5, metadata=40))
        self.position = 0
        self.open()

    def open(self):
        partition = self.partition
        ids = partition.ids
        if ids.end < self.committed.low:
            ids = RecentIds(WINDOW)
            for entry in self.log:
                if entry.offset < self.committed.low:
                    ids.repeated(entry.headers[0][1], entry.offset, 0)
            ids.end = self.committed.low
        partition.reopen(self.committed, ids)
        self.position = partition.offsets.low

    @precondition(lambda self: self.partition.wanted)
    @rule(count=st.integers(1, 10))
    def fetch(self, count):
        batch = [entry for entry in self.log if entry.offset >= self.position][:count]
        if batch:
            self.position = batch[-1].offset + 1
            assert not self.partition.take_in(batch).rewound

    @precondition(lambda self: self.partition.open)
    @rule()
    def start(self):
        entry = self.partition.next_record()
        if entry is not None:
            assert entry.offset not in self.running
            assert entry.offset not in self.finished
            assert entry.offset in self.work, "a repeat was started"
            self.running[entry.offset] = entry

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        offset = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[offset]
        self.finished.add(offset)
        self.partition.finish(offset)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stop_unfinished(self, data):
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.partition.give_back(self.running.pop(offset))

    @precondition(lambda self: self.partition.open)
    @rule()
    def commit(self):
        commit = self.partition.to_commit()
        if commit is not None:
            self.committed = decode(commit.offset, commit.metadata)
            self.partition.committed(commit)
            assert self.partition.to_commit() is None

    @precondition(lambda self: self.partition.open)
    @rule()
    def revoke(self):
        self.partition.suspend()

    @precondition(lambda self: not self.partition.open)
    @rule()
    def assign(self):
        self.open()

    @rule()
    def crash(self):
        self.running.clear()
        self.finished = {o for o in self.work if done(self.committed, o)}
        self.partition = Partition(TP, window=WINDOW, limits=Limits(queue=5, metadata=40))
        self.open()

    @invariant()
    def nothing_unfinished_counts_as_done(self):
        for known in (self.committed, self.partition.offsets.done):
            for offset in self.work:
                assert offset in self.finished or not done(known, offset)

    def teardown(self):
        """Left alone, the partition comes to its end."""
        if not hasattr(self, "partition"):
            return
        if not self.partition.open:
            self.open()
        for _ in range(len(self.log) * ALWAYS + ALWAYS):
            if self.partition.wanted:
                self.fetch(3)
            self.start()
            for offset in list(self.running):
                del self.running[offset]
                self.finished.add(offset)
                self.partition.finish(offset)
            self.commit()
        assert self.finished == self.work
        assert self.partition.offsets.done == Done(self.log[-1].offset + 1)


def done(known: Done, offset: int) -> bool:
    return offset < known.low or any(start <= offset < end for start, end in known.ranges)


TestPartitionLife = PartitionLife.TestCase
TestPartitionLife.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
