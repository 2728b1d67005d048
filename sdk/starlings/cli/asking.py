"""Asking the person at the terminal what a run in this process asks.

Nobody else can answer there. Where standard input is no terminal, a question without a time limit
counts as answered by its default at once: the run would wait for ever.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable

from starlings.messages import ApprovalDefault, ApprovalGiven, ApprovalRequested, Message

from .author import author
from .guard import complain
from .printing import clean

_YES = frozenset({"y", "yes"})
_NO = frozenset({"n", "no"})


class TerminalAnswers:
    """Puts questions to the terminal, one after the other, and tells the run what was typed."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._open: deque[ApprovalRequested] = deque()
        self._reading = False

    def look(self, fact: Message) -> None:
        """Take a fact of the run; ask, where it is a question."""
        if not isinstance(fact, ApprovalRequested):
            return
        if not sys.stdin.isatty():
            self._by_default(fact)
            return
        if not self._reading:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)
            self._reading = True
        self._open.append(fact)
        if len(self._open) == 1:
            self._ask(fact)

    def close(self) -> None:
        """Leave the terminal alone."""
        if self._reading:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._reading = False

    def _ask(self, fact: ApprovalRequested) -> None:
        question = clean(fact.approval.question, 500)
        complain(f"step {fact.step_id} asks: {question} Type yes or no, and why if you like.")

    def _read(self) -> None:
        line = sys.stdin.readline()
        word, _, comment = line.strip().partition(" ")
        if not line:
            self.close()
        elif self._open and word.lower() in _YES | _NO:
            fact = self._open.popleft()
            self._answer(fact, comment.strip(), approved=word.lower() in _YES)
            if self._open:
                self._ask(self._open[0])
        elif self._open:
            complain("that is neither yes nor no")

    def _by_default(self, fact: ApprovalRequested) -> None:
        if fact.approval.timeout_s is not None:
            complain(f"step {fact.step_id} asks, and there is no terminal: its time limit decides")
            return
        approved = fact.approval.default is ApprovalDefault.APPROVE
        word = "approved" if approved else "rejected"
        complain(f"step {fact.step_id} asks, and there is no terminal: {word} by default")
        self._answer(fact, "nobody was there to be asked", approved=approved)

    def _answer(self, fact: ApprovalRequested, comment: str, *, approved: bool) -> None:
        self._tell(
            ApprovalGiven(
                run_id=fact.run_id,
                step_id=fact.step_id,
                approved=approved,
                comment=comment,
                given_by=author(),
            )
        )
