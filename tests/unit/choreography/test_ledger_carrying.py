"""Carrying runs forward bounds what a restore must read; parked runs hold on for a while."""

from __future__ import annotations

import pytest
from support.partition import Reader, carried_run, done, end, ids, planned, poison

from starlings.choreography import Change, Ignored, Ledger, Position, snapshot
from starlings.messages import RunSnapshot

GONE = Ignored("the run has ended")


# -- carrying forward ----------------------------------------------------------------------------


def test_runs_are_carried_when_too_many_records_lie_behind_their_anchor():
    reader = Reader()
    reader.read(planned("p"), planned("q"))
    reader.pass_by(8)
    assert list(reader.ledger.to_carry(9)) == []
    reader.pass_by(1)
    assert list(reader.ledger.to_carry(9)) == ["p"]
    reader.pass_by(1)
    assert list(reader.ledger.to_carry(9)) == ["p", "q"]
    assert list(reader.ledger.to_carry(1)) == ["p"]


def test_with_many_open_runs_the_distance_grows_so_that_carrying_stays_a_small_share():
    reader = Reader()
    reader.read(*(planned(f"r{i}") for i in range(20)))
    reader.pass_by(20)
    assert list(reader.ledger.to_carry(9)) == []
    reader.pass_by(1)
    assert list(reader.ledger.to_carry(9)) == ["r0"]


def test_runs_are_carried_before_retention_reaches_their_anchor():
    reader = Reader()
    reader.read(planned("r"))
    reader.pass_by(1, ms=50_000)
    reader.pass_by(1)
    assert list(reader.ledger.to_carry(9)) == []
    reader.pass_by(1, ms=1)
    reader.pass_by(1)
    assert list(reader.ledger.to_carry(9)) == ["r"]


def test_a_long_run_in_a_busy_log_does_not_make_restores_longer():
    reader = Reader()
    reader.read(planned("long"))
    for number in range(300):
        reader.read(planned(f"r{number}"), done(f"r{number}"), end(f"r{number}"))
        for run_id in reader.ledger.to_carry(1):
            reader.read(reader.carried(run_id))
        assert reader.ledger.position - reader.ledger.restore_from() <= 25
    assert len(reader.ledger.ended) < 15


def test_the_look_back_is_the_shorter_of_records_and_time():
    reader = Reader()
    assert reader.ledger.look_back_offset() == 0
    reader.pass_by(100)
    assert reader.ledger.look_back_offset() == 80
    for _ in range(10):
        reader.pass_by(1, ms=3_000)
    assert 104 <= reader.ledger.look_back_offset() <= 107


def test_while_recovering_no_later_reader_may_begin_further_on():
    reader = Reader(5, recovering=True)
    reader.pass_by(100)
    assert reader.ledger.restore_from() == 5
    reader.ledger.finish_recovery()
    assert reader.ledger.restore_from() == 85


def test_restore_from_never_lies_before_the_readers_own_start():
    reader = Reader(500)
    assert reader.ledger.restore_from() == 500
    reader.pass_by(5)
    assert reader.ledger.restore_from() == 500


# -- parked runs ---------------------------------------------------------------------------------


def test_a_run_on_which_the_fold_breaks_is_parked_and_the_others_go_on():
    reader = Reader()
    reader.read(planned("r"), planned("q"))
    outcome = reader.read(poison("r"))
    assert isinstance(outcome, Ignored)
    assert outcome.reason.startswith("the run is parked now: ")
    parked = reader.ledger.parked["r"]
    assert (parked.run_id, parked.offset) == ("r", 2)
    assert isinstance(parked.error, TypeError)
    assert reader.read(done("r")) == Ignored("the run is parked")
    assert ids(reader.read(done("q"))) == ["q/b/1/step_ready"]


def test_a_parked_run_waits_for_better_code_but_not_for_ever():
    reader = Reader()
    reader.pass_by(20)
    reader.read(planned("r"), poison("r"))
    reader.pass_by(7, ms=30_000)
    reader.pass_by(1)
    assert reader.ledger.restore_from() == 20
    assert list(reader.ledger.to_carry(9)) == []
    reader.pass_by(1)
    assert reader.ledger.restore_from() > 20
    assert "r" not in reader.ledger.anchors


def test_a_parked_run_is_forgotten_when_its_anchor_has_gone_and_the_look_back_is_over():
    reader = Reader()
    reader.read(planned("r"), poison("r"))
    reader.pass_by(11)
    reader.ledger.restore_from()
    assert "r" not in reader.ledger.anchors
    assert reader.read(planned("r")) == Ignored("the run is parked"), (
        "a repeat within the look-back"
    )
    reader.pass_by(9, ms=30_000)
    assert isinstance(reader.read(planned("r")), Change), "as to one that begins to read here"


@pytest.mark.parametrize("commits", [False, True])
def test_what_is_known_as_parked_follows_from_the_log_not_from_commits(commits):
    reader = Reader()
    told = []
    for number in range(400):
        reader.read(planned(f"r{number}"), poison(f"r{number}"))
        reader.pass_by(3, ms=1_000)
        if commits:
            reader.ledger.restore_from()
        told.append(sum(reader.ledger.is_parked(f"r{n}") for n in range(number + 1)))
    assert max(told) < 20, "no more than fit into the look-back"
    assert told == [min(n + 1, told[-1]) for n in range(400)]
    assert len(reader.ledger.parked) < 20
    assert len(reader.ledger.anchors) < 20


def test_an_end_in_the_log_frees_a_parked_run():
    reader = Reader()
    reader.read(planned("r"), poison("r"), end("r"))
    assert not reader.ledger.parked
    assert reader.read(planned("r")) == GONE


def test_a_run_whose_snapshot_cannot_be_read_is_parked_with_its_anchor():
    _, log = carried_run()
    newer = log[3].model_copy(update={"state": {"version": 99}})
    late = Reader(3, recovering=True)
    late.read(newer)
    assert "state version 99" in str(late.ledger.parked["r"].error)
    assert late.ledger.anchors["r"].offset == 3
    late.ledger.finish_recovery()
    assert late.ledger.restore_from() == 3


def test_an_end_of_before_a_run_was_reopened_is_not_said_again_once_that_is_known():
    first = Reader()
    first.read(planned("r"))
    state = snapshot.save(first.ledger.runs["r"]) | {"generation": 1}
    later = Ledger(start=10)  # the word that reopened the run lies before its start
    later.fold(Position(10, 0), end("r"))
    later.fold(Position(11, 0), planned("r"))
    assert list(later.repeated) == ["r"]
    later.fold(Position(13, 0), RunSnapshot(run_id="r", as_of=12, plan_offset=0, state=state))
    assert (list(later.runs), later.repeated) == (["r"], {})
