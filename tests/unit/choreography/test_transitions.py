"""The tables of moves, and what the outputs refuse to say too early."""

from __future__ import annotations

import pytest
from support.runs import Story

from starlings.choreography import Phase, RunPhase, confirmed_decision, message_for
from starlings.choreography.outputs import run_done
from starlings.choreography.state import Decision, DecisionKind
from starlings.choreography.transitions import (
    OUT,
    RUN_MOVES,
    SETTLED,
    STEP_MOVES,
    UNDO_MOVES,
    RunEvent,
    StepEvent,
    UndoEvent,
    diagram,
    move,
)
from starlings.messages import InvariantBroken


def test_a_move_that_is_not_in_the_table_cannot_happen():
    with pytest.raises(InvariantBroken, match="'started' cannot happen in phase 'done'"):
        move(STEP_MOVES, Phase.DONE, StepEvent.STARTED)
    with pytest.raises(InvariantBroken):
        move(RUN_MOVES, RunPhase.ENDED, RunEvent.CANCEL_REQUESTED)


def test_settled_phases_have_no_way_out_and_all_others_lead_there():
    """All but two: a run that goes on opens what it had not done, and a part is done again."""
    anew = (StepEvent.REOPENED, StepEvent.REWOUND)
    leaving = {phase for phase, event in STEP_MOVES if event not in anew}
    assert leaving == set(Phase) - SETTLED
    again = (RunEvent.REOPENED, RunEvent.UNDOING_REOPENED)
    left = {phase for phase, event in RUN_MOVES if event not in again}
    assert left == set(RunPhase) - {RunPhase.ENDED}


def test_every_unsettled_step_can_be_stopped_or_settles_by_itself():
    assert (Phase.AMENDING, StepEvent.SUCCEEDED) in STEP_MOVES  # it is done when its run stops
    stopped = set(Phase) - SETTLED - {Phase.AMENDING}
    assert all((phase, StepEvent.STOPPED) in STEP_MOVES for phase in stopped)
    assert OUT.isdisjoint(SETTLED)


def test_every_event_happens_somewhere():
    assert {event for _, event in STEP_MOVES} == set(StepEvent)
    assert {event for _, event in RUN_MOVES} == set(RunEvent)
    assert {event for _, event in UNDO_MOVES} == set(UndoEvent)


def test_the_diagram_shows_every_move_of_all_tables():
    text = diagram()
    moves = len(STEP_MOVES) + len(UNDO_MOVES) + len(RUN_MOVES)
    assert text.count(" --> ") == moves + 3 + len(SETTLED) + 2 + 1
    assert "    released --> running: started\n" in text
    assert "    [*] --> waiting\n" in text
    assert "    ended --> [*]\n" in text


def test_a_run_without_an_outcome_has_no_end_to_tell():
    with pytest.raises(InvariantBroken, match="has no outcome yet"):
        run_done(Story("a").run)


def test_results_that_are_not_there_are_not_handed_on():
    story = Story("a", "b<a")
    with pytest.raises(InvariantBroken, match="'a' is handed on before it has settled"):
        message_for(story.run, Decision("x", DecisionKind.RELEASE, "b", 1))


@pytest.mark.parametrize(
    ("name", "ident", "decision"),
    [
        ("step_scheduled", "r/a/1/step_scheduled", "r/a/1/step_ready"),
        ("stop_announced", "r/a/1/stop_requested/announced", "r/a/1/stop_requested"),
        ("step_skipped", "r/a/step_skipped", "r/a/step_skipped"),
        ("approval_requested", "r/a/1/approval_requested", "r/a/1/approval_requested"),
        ("compensation_scheduled", "r/a/1/compensation_scheduled/2", "r/a/1/compensation_ready/2"),
        ("compensation_abandoned", "r/a/1/compensation_abandoned/2", "r/a/1/dead_letter/2"),
        ("step_done", "r/a/1/step_done", None),
        ("compensation_scheduled", "6f3c", None),
        ("compensation_abandoned", "r/a", None),
    ],
)
def test_an_id_alone_tells_which_decision_is_confirmed(name, ident, decision):
    assert confirmed_decision(name, ident) == decision
