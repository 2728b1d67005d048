"""When a coordinator reports its state: now and then, some of it, never while it reads."""

from __future__ import annotations

from support.partition import Reader, done, planned

from starlings.choreography.state_hash import STEPS_AT_ONCE, slice_hash
from starlings_coordinator.reporting import SHARE, Reporting


class Clock:
    """A clock that goes on when it is told to, and by `cost` whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.cost = 0.0

    def __call__(self) -> float:
        self.now += self.cost
        return self.now


def reporting(clock: Clock, *, partition: int = 0, every_s: float = 30.0) -> Reporting:
    return Reporting(partition, every_s=every_s, clock=clock)


def a_few(*run_ids: str, recovering: bool = False) -> Reader:
    reader = Reader(recovering=recovering)
    reader.read(*(planned(run_id) for run_id in run_ids or ("r", "q")))
    return reader


def test_a_report_is_of_the_state_between_two_records():
    reader, reports = a_few(), reporting(Clock())
    reports.tend(reader.ledger)
    report = reports.latest
    assert report is not None
    assert (report.at, report.runs, report.slice, report.slices) == (2, 2, 0, 1)
    assert report.hash == slice_hash(reader.ledger.runs.values()).value
    assert report.restore_from == reader.ledger.restore_from() == 0
    assert report.look_back_records == reader.ledger.policy.look_back_records


def test_nothing_is_reported_while_the_log_is_read_back():
    reader, reports = a_few(recovering=True), reporting(Clock())
    reports.tend(reader.ledger)
    assert reports.latest is None
    reader.ledger.finish_recovery()
    reports.tend(reader.ledger)
    assert reports.latest is not None


def test_nobody_who_wants_no_reports_gets_one():
    clock = Clock()
    reader, reports = a_few(), reporting(clock, every_s=0)
    for _ in range(3):
        reports.tend(reader.ledger)
        clock.now += 1_000
    assert reports.latest is None


def test_reports_come_at_their_time_and_those_of_several_partitions_one_after_the_other():
    clock = Clock()
    reader, reports = a_few(), reporting(clock, partition=33)
    reports.tend(reader.ledger)
    clock.now += 2.9
    reports.tend(reader.ledger)
    assert reports.latest is None
    clock.now += 0.1
    reports.tend(reader.ledger)
    assert reports.latest is not None
    reader.read(done("r"))
    clock.now += 29.9
    reports.tend(reader.ledger)
    assert reports.latest.at == 2
    clock.now += 0.1
    reports.tend(reader.ledger)
    assert reports.latest.at == 3


def test_a_state_that_has_not_changed_is_reported_once():
    clock = Clock()
    reader, reports = a_few(), reporting(clock)
    reports.tend(reader.ledger)
    first = reports.latest
    clock.now += 60
    reports.tend(reader.ledger)
    assert reports.latest is first


def many() -> Reader:
    reader = Reader()
    steps = [f"s{n}" for n in range(STEPS_AT_ONCE // 10)]
    reader.read(*(planned(f"r{n}", *steps) for n in range(30)))
    return reader


def test_of_a_large_state_slices_are_reported_in_turn():
    clock = Clock()
    reader, reports = many(), reporting(clock)
    seen = []
    for _ in range(4):
        reports.tend(reader.ledger)
        assert reports.latest is not None
        seen.append(reports.latest)
        clock.now += 30
    assert [(each.slice, each.slices) for each in seen] == [(0, 3), (1, 3), (2, 3), (0, 3)]
    assert sum(each.runs for each in seen[:3]) == 30


def test_a_run_that_is_too_long_is_left_out_and_said_to_be():
    reader, reports = Reader(), reporting(Clock())
    reader.read(planned("long", *(f"s{n}" for n in range(STEPS_AT_ONCE + 1))), planned("short"))
    reports.tend(reader.ledger)
    assert reports.latest is not None
    assert (reports.latest.runs, reports.latest.left_out) == (1, 1)


def test_what_takes_long_is_done_seldom_and_in_smaller_slices():
    clock = Clock()
    reader, reports = a_few("a", "b", "c", "d"), reporting(clock)
    clock.cost = 0.1
    reports.tend(reader.ledger)
    clock.cost = 0.0
    clock.now += 0.1 * SHARE - 1
    reader.read(done("a"))
    reports.tend(reader.ledger)
    assert reports.latest is not None
    assert reports.latest.at == 4
    clock.now += 1
    reports.tend(reader.ledger)
    assert (reports.latest.at, reports.latest.slices) == (5, 2)
    clock.now += 30
    reports.tend(reader.ledger)  # it was quick: one slice is enough again
    assert reports.latest.slices == 1
