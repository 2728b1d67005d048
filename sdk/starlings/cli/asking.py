"""Asking the person at the terminal what a run in this process asks.

Nobody else can answer there. Where standard input is no terminal, a question without a time limit
counts as answered by its default at once: the run would wait for ever. A form waits for its time.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pydantic import JsonValue, ValidationError

from starlings.client.answering import asked_form
from starlings.forms import FormField, answer_name
from starlings.messages import (
    ApprovalDefault,
    ApprovalGiven,
    ApprovalRequested,
    Message,
    SignalReceived,
    StepDone,
    StepProgress,
)

from .author import author
from .guard import complain
from .printing import clean

_YES = frozenset({"y", "yes"})
_NO = frozenset({"n", "no"})
_LIMIT = 500


class Question(Protocol):
    """Something that is asked in one or more lines."""

    step_id: str

    def ask(self) -> None:
        """Ask for the next line."""

    def take(self, line: str) -> Message | None:
        """Read a line; return the answer once it is complete."""


class YesOrNo:
    """An approval."""

    def __init__(self, fact: ApprovalRequested) -> None:
        self.step_id = fact.step_id
        self._fact = fact

    def ask(self) -> None:
        """Ask for a yes or a no."""
        question = clean(self._fact.approval.question, _LIMIT)
        complain(f"step {self.step_id} asks: {question} Type yes or no, and why if you like.")

    def take(self, line: str) -> Message | None:
        """Read a yes or a no."""
        word, _, comment = line.partition(" ")
        if word.lower() not in _YES | _NO:
            complain("that is neither yes nor no")
            return None
        return self.answer(comment.strip(), approved=word.lower() in _YES)

    def answer(self, comment: str, *, approved: bool) -> ApprovalGiven:
        """Make the answer."""
        return ApprovalGiven(
            run_id=self._fact.run_id,
            step_id=self.step_id,
            approved=approved,
            comment=comment,
            given_by=author(),
        )


class FieldByField:
    """A form, of which the agent tells the fields with their types; a field takes a line."""

    def __init__(self, fact: StepProgress, said: dict[str, JsonValue]) -> None:
        self.step_id = fact.step_id
        self._run_id = fact.run_id
        self._said = said
        fields = said.get("fields")
        self._left = deque(fields.items() if isinstance(fields, dict) else ())
        self._given: dict[str, JsonValue] = {}
        self._begun = False

    def ask(self) -> None:
        """Ask for the next field."""
        if not self._begun:
            self._begun = True
            problems = self._said.get("problems")
            for problem in problems if isinstance(problems, list) else ():
                complain(f"that does not fit: {clean(problem, _LIMIT)}")
            complain(f"step {self.step_id} asks: {clean(self._said.get('asks'), _LIMIT)}")
        if self._left:
            name, kind = self._left[0]
            complain(f"{clean(name)} ({clean(kind)}), or nothing to leave it out:")

    def take(self, line: str) -> Message | None:
        """Read a field."""
        if self._left:
            name, kind = self._left.popleft()
            if line:
                self._given[name] = _read(kind, line)
        if self._left:
            self.ask()
            return None
        return SignalReceived(
            run_id=self._run_id,
            name=answer_name(self.step_id),
            payload=self._given,
            sent_by=author(),
        )


def _read(kind: object, line: str) -> JsonValue:
    try:
        return FormField.model_validate({"type": kind}).read(line)
    except ValidationError:  # a kind that this version does not know
        return line


class TerminalAnswers:
    """Puts questions to the terminal, one after the other, and tells the run what was typed."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._open: deque[Question] = deque()
        self._reading = False

    def look(self, fact: Message) -> None:
        """Take a fact of the run; ask, where it is a question."""
        if isinstance(fact, StepDone):
            self._drop(fact.step_id)
        elif isinstance(fact, ApprovalRequested):
            if self._somebody_is_there():
                self._put(YesOrNo(fact))
            else:
                self._by_default(fact)
        elif isinstance(fact, StepProgress) and (said := asked_form(fact.agent, fact.progress)):
            if self._somebody_is_there():
                self._put(FieldByField(fact, said))
            elif "problems" not in said:
                self._leave_to_time(fact.step_id)

    def close(self) -> None:
        """Leave the terminal alone."""
        if self._reading:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._reading = False

    @staticmethod
    def _somebody_is_there() -> bool:
        return sys.stdin.isatty()

    def _put(self, question: Question) -> None:
        if not self._reading:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)
            self._reading = True
        self._open.append(question)
        if len(self._open) == 1:
            question.ask()

    def _drop(self, step_id: str) -> None:
        """Forget what a step asks that has ended."""
        first = self._open[0] if self._open else None
        self._open = deque(each for each in self._open if each.step_id != step_id)
        if self._open and self._open[0] is not first:
            self._open[0].ask()

    def _read(self) -> None:
        line = sys.stdin.readline()
        if not line:
            self.close()
            return
        answer = self._open[0].take(line.strip()) if self._open else None
        if answer is not None:
            self._open.popleft()
            self._tell(answer)
            if self._open:
                self._open[0].ask()

    def _by_default(self, fact: ApprovalRequested) -> None:
        if fact.approval.timeout_s is not None:
            self._leave_to_time(fact.step_id)
            return
        approved = fact.approval.default is ApprovalDefault.APPROVE
        word = "approved" if approved else "rejected"
        complain(f"step {fact.step_id} asks, and there is no terminal: {word} by default")
        nobody = "nobody was there to be asked"
        self._tell(YesOrNo(fact).answer(nobody, approved=approved))

    def _leave_to_time(self, step_id: str) -> None:
        complain(f"step {step_id} asks, and there is no terminal: its time limit decides")
