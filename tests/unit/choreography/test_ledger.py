"""The runs of a partition: what is known of them, and from where a later reader knows it."""

from __future__ import annotations

import pytest
from support.partition import Reader, cancel, carried_run, done, end, ids, planned

from starlings.choreography import Change, Ignored, Position, RunPhase
from starlings.messages import AgentAlive, EventHandled, EventOutcome, Message

GONE = Ignored("the run has ended")
UNKNOWN = Ignored("no such run is open")


# -- knowing runs --------------------------------------------------------------------------------


def test_runs_of_a_partition_are_folded_side_by_side():
    reader = Reader()
    reader.read(planned("r"), planned("q"))
    assert ids(reader.read(done("r"))) == ["r/b/1/step_ready"]
    assert ids(reader.read(done("q"))) == ["q/b/1/step_ready"]
    assert reader.ledger.position == 4


def test_a_decision_is_confirmed_from_a_header_alone():
    reader = Reader()
    reader.read(planned("r"))
    assert reader.ledger.confirm(reader.place, "r", "r/a/1/step_ready") == Change()
    assert not reader.ledger.runs["r"].owed
    assert reader.ledger.confirm(reader.place, "x", "x/a/1/step_ready") == UNKNOWN


def test_an_end_in_the_log_closes_the_run_from_a_header_or_a_body():
    for how in (lambda r: r.ledger.end(r.place, "r", 0), lambda r: r.read(end("r"))):
        reader = Reader()
        reader.read(planned("r"))
        run = reader.ledger.runs["r"]
        assert how(reader) == Change()
        assert run.phase is RunPhase.ENDED
        assert not reader.ledger.runs
        assert not reader.ledger.anchors
        assert how(reader) == UNKNOWN


def test_facts_of_unknown_runs_and_foreign_messages_change_nothing():
    reader = Reader()
    assert reader.read(done("x")) == UNKNOWN
    assert reader.read(AgentAlive(agent="math", instance="i")) == UNKNOWN
    assert not reader.ledger.held


def test_reactions_to_events_are_of_no_planned_run_and_never_held_for_one():
    reaction = EventHandled(
        run_id="r", agent="a", event_id="e", event_type="opened", outcome=EventOutcome.OK
    )
    reader = Reader(recovering=True)
    assert reader.read(reaction) == Ignored("a reaction to a domain event")
    assert not reader.ledger.held
    assert reader.ledger.position == 1
    reader.read(planned("r"))
    assert reader.read(reaction) == Ignored("a reaction to a domain event")


# -- repeats and the look-back -------------------------------------------------------------------


def test_a_plan_repeated_after_the_end_starts_nothing_and_asks_for_the_end_again():
    reader = Reader()
    reader.read(planned("r"), end("r"))
    assert reader.read(planned("r", "z")) == GONE
    assert reader.ledger.repeated == {"r": Position(1, 0)}
    assert reader.ledger.restore_from() <= 1
    reader.pass_by(50, ms=60_000)
    assert reader.read(planned("r")) == GONE, "still owed, so still known"
    assert reader.ledger.restore_from() == 1
    reader.read(end("r"))
    assert not reader.ledger.repeated
    reader.pass_by(50)
    assert reader.ledger.restore_from() > 50


def test_other_facts_after_the_end_are_ignored():
    reader = Reader()
    reader.read(planned("r"), end("r"))
    assert reader.read(done("r")) == GONE
    assert not reader.ledger.repeated


@pytest.mark.parametrize(("records", "ms"), [(20, 0), (0, 10_001)])
def test_after_the_look_back_the_same_id_is_a_new_run(records, ms):
    reader = Reader()
    reader.read(planned("r"), end("r"))
    reader.pass_by(records, ms=ms)
    assert ids(reader.read(planned("r"))) == ["r/a/1/step_ready"]
    assert "r" not in reader.ledger.ended


@pytest.mark.parametrize(("records", "ms"), [(19, 0), (0, 10_000)])
def test_the_last_record_of_the_look_back_still_counts(records, ms):
    reader = Reader()
    reader.read(planned("r"), end("r"))
    reader.pass_by(records, ms=ms)
    assert reader.read(planned("r")) == GONE


def test_ends_are_forgotten_when_they_lie_before_the_look_back():
    reader = Reader()
    for name in "pqr":
        reader.read(planned(name), end(name))
        reader.pass_by(8)
    reader.read(planned("q"))
    reader.pass_by(4)
    reader.ledger.restore_from()
    assert set(reader.ledger.ended) == {"q", "r"}
    reader.pass_by(30)
    assert reader.ledger.restore_from() == reader.ledger.ended["q"].offset
    assert set(reader.ledger.ended) == {"q"}


def test_a_cancel_before_the_plan_is_kept_for_the_look_back():
    reader = Reader()
    reader.read(cancel("r"))
    reader.pass_by(19)
    change = reader.read(planned("r"))
    assert ids(change) == ["r/run_done"]
    assert reader.ledger.anchors["r"].offset == 0, "a later reader needs the cancel as well"
    assert reader.ledger.restore_from() == 0


def test_a_cancel_from_before_the_look_back_does_not_count():
    reader = Reader()
    reader.read(cancel("r"))
    reader.pass_by(20)
    assert ids(reader.read(planned("r"))) == ["r/a/1/step_ready"]


def test_a_cancel_without_a_plan_is_forgotten():
    reader = Reader()
    reader.read(cancel("r"), cancel("q"))
    reader.pass_by(20)
    reader.read(cancel("q"))
    reader.ledger.restore_from()
    assert set(reader.ledger.early) == {"q"}


def test_a_cancel_after_the_end_counts_for_a_later_run_whether_or_not_the_end_was_read():
    log: list[Message] = [planned("r"), end("r"), *[done("x")] * 15, cancel("r")]
    whole, late = Reader(recovering=True), Reader(2, recovering=True)
    whole.read(*log)
    late.read(*log[2:])
    for reader in (whole, late):
        reader.pass_by(10)
        assert ids(reader.read(planned("r"))) == ["r/run_done"]


# -- snapshots and recovery ----------------------------------------------------------------------


def test_a_snapshot_moves_the_anchor_of_its_run():
    reader, log = carried_run()
    assert reader.ledger.anchors["r"].offset == 0
    assert reader.read(log[3]) == Change()
    assert reader.ledger.anchors["r"].offset == 3
    reader.pass_by(40)
    assert reader.ledger.restore_from() == 3


def test_an_older_snapshot_moves_no_anchor_back():
    reader, log = carried_run()
    older = reader.carried("r").model_copy(update={"as_of": 0})
    reader.read(log[3])
    assert reader.read(older) == Change()
    assert reader.ledger.anchors["r"].offset == 3


def test_a_reader_from_the_anchor_takes_the_run_up_from_its_snapshot():
    first, log = carried_run()
    first.read(log[3])
    late = Reader(3, recovering=True)
    late.read(log[3])
    assert late.ledger.runs["r"] == first.ledger.runs["r"]
    assert late.ledger.anchors == first.ledger.anchors
    assert late.ledger.restore_from() == 3, "nothing else is known to be safe while recovering"


def test_facts_before_the_snapshot_are_held_and_only_the_newer_ones_folded():
    _, log = carried_run()
    late = Reader(1, recovering=True)
    late.read(log[1])
    late.pass_by(1)
    assert late.ledger.confirm(late.place, "r", "r/b/1/step_ready") == UNKNOWN
    assert late.read(done("r", "b")) == UNKNOWN
    assert [p.offset for p, _ in late.ledger.held["r"]] == [1, 3, 4]
    late.read(log[3])
    run = late.ledger.runs["r"]
    assert (run.phase, list(run.owed)) == (RunPhase.ENDING, ["r/run_done"])


def test_held_facts_are_let_go_when_the_end_of_the_log_is_reached():
    """Not before: an end may be one of the past, of a run that was reopened since."""
    late = Reader(5, recovering=True)
    late.read(done("r"), done("q"))
    late.ledger.end(late.place, "r", 0)
    assert set(late.ledger.held) == {"q", "r"}
    late.ledger.finish_recovery()
    assert not late.ledger.held


def test_a_snapshot_that_lacks_facts_the_reader_skipped_is_of_no_use():
    _, log = carried_run()
    late = Reader(5, recovering=True)
    assert late.read(log[3]) == Ignored("the snapshot is of no use to this reader")


def test_a_snapshot_cannot_know_what_comes_after_it():
    reader, log = carried_run()
    future = log[3].model_copy(update={"as_of": 3})
    assert reader.read(future) == Ignored("the snapshot is of no use to this reader")


def test_a_late_snapshot_does_not_bring_an_ended_run_back():
    gone = Ignored("the snapshot is of a run that has ended")
    reader, log = carried_run()
    reader.read(end("r"))
    assert reader.read(log[3]) == gone
    reader.pass_by(100)
    reader.ledger.restore_from()
    assert "r" not in reader.ledger.ended
    assert reader.read(log[3]) == gone, "a reader that is up to date knows every open run"
    late = Reader(2, recovering=True)
    late.pass_by(1)
    assert late.read(end("r"), log[3]) == gone
    assert not late.ledger.runs


def test_a_run_begun_at_a_repeat_of_its_plan_is_found_out_and_read_again():
    _, log = carried_run()
    repeat = planned("r", "x", "y")
    late = Reader(2, recovering=True)
    late.read(repeat, log[3])
    assert late.ledger.misread == {"r": 0}
    again = Reader(2, recovering=True, **late.ledger.misread)
    reason = "a repeat of a plan whose run was begun before the reader's start"
    assert again.read(repeat) == Ignored(reason)
    again.read(log[3])
    assert list(again.ledger.runs["r"].steps) == ["a", "b"]
    assert not again.ledger.misread


def test_reading_again_ends_even_where_the_id_was_used_anew():
    _, log = carried_run()
    late = Reader(2, recovering=True, r=0)
    late.pass_by(1)
    late.read(end("r"))
    late.pass_by(25)
    assert ids(late.read(planned("r", "x"))) == ["r/x/1/step_ready"]
    stale = Ignored("this reader began the run at another plan")
    assert late.read(log[3]) == stale
    assert not late.ledger.misread


def test_known_plans_do_not_outlast_the_recovery():
    reader = Reader(5, recovering=True, r=0)
    reader.ledger.finish_recovery()
    assert ids(reader.read(planned("r"))) == ["r/a/1/step_ready"]


def test_a_snapshot_of_an_earlier_run_of_the_id_is_ignored_by_whoever_is_up_to_date():
    reader, log = carried_run()
    reader.read(end("r"))
    reader.pass_by(30)
    reader.read(planned("r"))
    assert reader.read(log[3]) == Ignored("this reader began the run at another plan")
    assert not reader.ledger.misread
