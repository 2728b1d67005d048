"""The pure core: what follows from the facts of a run.

No I/O, no clock, no randomness: every decision is a function of the log alone, so a replay of the
log decides the same. The coordinator, the in-process runner, `starlings replay` and the property
tests all run this code.
"""

from __future__ import annotations

from .chain import Chain, ChainEvent
from .confirming import confirm, record_end
from .context import render_task, resolve
from .fold import Beginning, begin, fold
from .ledger import CarryPolicy, Ledger, Position
from .outputs import (
    CONFIRMING,
    ELSEWHERE,
    abandoned,
    confirmation_for,
    confirmed_decision,
    message_for,
)
from .reopening import Recorded, goes_on, is_of_the_past, refusal, reopen, retell
from .state import (
    Change,
    Decision,
    DecisionKind,
    Ignored,
    Replan,
    ReplanPhase,
    Run,
    StepState,
    Timer,
    TimerKey,
    Undo,
    obligations,
)
from .transitions import Phase, RunPhase, UndoPhase
from .validation import Limits, check_plan, parse_plan

__all__ = [
    "CONFIRMING",
    "ELSEWHERE",
    "Beginning",
    "CarryPolicy",
    "Chain",
    "ChainEvent",
    "Change",
    "Decision",
    "DecisionKind",
    "Ignored",
    "Ledger",
    "Limits",
    "Phase",
    "Position",
    "Recorded",
    "Replan",
    "ReplanPhase",
    "Run",
    "RunPhase",
    "StepState",
    "Timer",
    "TimerKey",
    "Undo",
    "UndoPhase",
    "abandoned",
    "begin",
    "check_plan",
    "confirm",
    "confirmation_for",
    "confirmed_decision",
    "fold",
    "goes_on",
    "is_of_the_past",
    "message_for",
    "obligations",
    "parse_plan",
    "record_end",
    "refusal",
    "render_task",
    "reopen",
    "resolve",
    "retell",
]
