"""Answers to forms within one process: runs without Kafka are answered like those on it.

A `LocalRun` gives its forms what it is told by signals; a test may give answers by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from starlings.forms import answer_name
from starlings.messages import SignalReceived


@dataclass(frozen=True)
class Answer:
    """What somebody has answered."""

    payload: JsonValue
    by: str


class Answers(Protocol):
    """Answers to one step's form from a position on, in order, and the position to go on from."""

    async def since(
        self,
        run_id: str,
        step_id: str,
        position: int | None,
        *,
        asked_at: datetime | None = None,
    ) -> tuple[list[Answer], int]:
        """Look; None is the first look, which finds what was answered since it was asked."""


class MemoryAnswers:
    """Answers that are given within this process, for tests and notebooks."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], list[Answer]] = {}

    def give(self, run_id: str, step_id: str, payload: JsonValue, *, by: str = "") -> None:
        """Answer the form of a step, now or before it asks."""
        name = answer_name(step_id)
        self.hear(SignalReceived(run_id=run_id, name=name, payload=payload, sent_by=by))

    def hear(self, signal: SignalReceived) -> None:
        """Take a signal that answers a form."""
        answer = Answer(signal.payload, signal.sent_by)
        self._given.setdefault((signal.run_id, signal.name), []).append(answer)

    async def since(
        self,
        run_id: str,
        step_id: str,
        position: int | None,
        *,
        asked_at: datetime | None = None,  # noqa: ARG002 - here everything is found
    ) -> tuple[list[Answer], int]:
        """Look."""
        given = self._given.get((run_id, answer_name(step_id)), [])
        return given[position or 0 :], len(given)


_memory: ContextVar[MemoryAnswers | None] = ContextVar("starlings_form_answers", default=None)


@contextmanager
def answers_in_memory() -> Iterator[MemoryAnswers]:
    """Let forms that are asked in this block be answered by what it gives; blocks share it."""
    answers = _memory.get() or MemoryAnswers()
    token = _memory.set(answers)
    try:
        yield answers
    finally:
        _memory.reset(token)


def answers_here() -> MemoryAnswers | None:
    """Find the answers of the block; None outside of one, where runs lie on Kafka."""
    return _memory.get()
