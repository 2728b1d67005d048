"""What caused what: the messages of a log as a forest.

A message names its cause in `ce_causationid`. Most causes of facts lie on other topics (a result
was caused by the work on `steps.<agent>`); where those were not read, the message stands in the
tree all the same, as one that lies elsewhere. What caused it is known from folding the run: the
core decided on it at some fact. Ids are deterministic, so that also a log whose messages name no
causes has a tree.

Total over whatever a log holds: repeats, ids that are used twice, causes that never were, circles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlings.client import RunView
from starlings.messages import (
    MESSAGES,
    AmendmentProposed,
    CompensationAbandoned,
    CompensationDone,
    CompensationReady,
    CompensationScheduled,
    EventHandled,
    ReplanReady,
    ReplanScheduled,
    StepDone,
    StepProgress,
    StepReady,
    StepScheduled,
    StepStarted,
    StopAnnounced,
    TimerFired,
    TimerKind,
    attempt_id,
    replan_id,
    undo_id,
)

from .entries import Entry

_AGAIN = (TimerKind.RETRY, TimerKind.UNDO_RETRY)


@dataclass(slots=True, eq=False)
class Node:
    """A message, and what it has caused; without an entry it lies where nobody has read."""

    id: str
    entry: Entry | None = None
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    is_repeat: bool = False  # of its parent

    @property
    def type(self) -> str | None:
        """Name the message's type, read from its id where nothing else is known."""
        if self.entry is not None:
            return self.entry.type
        return next((part for part in self.id.split("/")[1:] if part in MESSAGES), None)


class Row(NamedTuple):
    """A line of the drawn forest. What stands below in the same column was caused by it."""

    node: Node
    column: int
    is_branch: bool  # begins a column, beside the one it hangs on


def forest(entries: Iterable[Entry]) -> list[Node]:
    """Link messages to their causes; return those that nothing known has caused."""
    read = list(entries)
    return _Linking(read, _decided(read)).roots()


def rows(roots: Iterable[Node]) -> Iterator[Row]:
    """Lay a forest out in few columns.

    Of what a message has caused, that with the most behind it goes on in the same column; so a
    chain of thousands needs one column, and no forest of n messages more than log2(n).
    """
    tops = list(roots)
    sizes = _sizes(tops)
    stack = [Row(root, 0, is_branch=False) for root in reversed(tops)]
    while stack:
        row = stack.pop()
        yield row
        children = row.node.children
        if not children:
            continue
        at = max(range(len(children)), key=lambda i: (sizes[id(children[i])], i))
        stack.append(Row(children[at], row.column, is_branch=False))
        beside = children[:at] + children[at + 1 :]
        stack += [Row(child, row.column + 1, is_branch=True) for child in reversed(beside)]


def _sizes(roots: list[Node]) -> Counter[int]:
    order, sizes = list(roots), Counter[int]()
    for node in order:
        order += node.children
    for node in reversed(order):
        sizes[id(node)] += 1
        if node.parent is not None:
            sizes[id(node.parent)] += sizes[id(node)]
    return sizes


# -- causes ----------------------------------------------------------------------------------------


def _decided(entries: list[Entry]) -> dict[str, str]:
    """Fold the runs: at which fact was it decided to send which message?"""
    views: dict[str, RunView] = {}
    decided: dict[str, str] = {}
    for entry in entries:
        received, run_id = entry.received, entry.run_id
        if received is None or run_id is None:
            continue
        view = views.setdefault(run_id, RunView(run_id))
        view.add(received)
        for decision in view.decided:
            decided.setdefault(decision.id, entry.id)
    return decided


def _work(message: Any) -> str | None:
    """Name the message on account of which somebody wrote this one, by the ids of both."""
    if isinstance(message, StepScheduled | StepStarted | StepProgress | StepDone):
        return attempt_id(message.run_id, message.step_id, message.attempt, StepReady.NAME)
    undoing = CompensationScheduled | CompensationDone | CompensationAbandoned
    if isinstance(message, undoing):
        work = CompensationReady.NAME
        return undo_id(message.run_id, message.step_id, message.attempt, message.number, work)
    if isinstance(message, ReplanScheduled | AmendmentProposed):
        return replan_id(message.run_id, message.number, ReplanReady.NAME)
    if isinstance(message, TimerFired) and message.step_id is not None:
        return attempt_id(message.run_id, message.step_id, message.attempt or 0, StepReady.NAME)
    if isinstance(message, StopAnnounced):
        return message.stop_id
    return message.event_id if isinstance(message, EventHandled) else None


class _Linking:
    """Hangs each message on its cause, which no message can be of itself."""

    def __init__(self, entries: list[Entry], decided: dict[str, str]) -> None:
        self._decided = decided
        self._nodes: dict[str, Node] = {}
        self._all: list[Node] = []
        self._top: dict[int, Node] = {}  # on the way to the root of a node's tree
        for entry in entries:
            first = self._nodes.get(entry.id)
            node = Node(entry.id, entry, is_repeat=first is not None)
            self._nodes.setdefault(entry.id, node)
            self._all.append(node)
        self._results: dict[tuple[Any, ...], str] = {}  # the latest end of an attempt, or of a try
        for node in list(self._all):
            self._hang(node, self._nodes[node.id] if node.is_repeat else self._cause(node))

    def roots(self) -> list[Node]:
        return [node for node in self._all if node.parent is None]

    def _cause(self, node: Node) -> Node | None:
        entry = node.entry
        message = entry.received.message if entry and entry.received else None
        said = entry.cause if entry else None
        work = self._failed(message) or _work(message)
        if isinstance(message, StepDone | CompensationDone):
            undoing = isinstance(message, CompensationDone)
            self._results[message.run_id, message.step_id, message.attempt, undoing] = node.id
        known = work if work in self._nodes or work in self._decided else None
        for ident in (said, self._decided.get(node.id), known):
            if ident and ident != node.id:
                return self._nodes.get(ident) or self._elsewhere(ident)
        return None

    def _failed(self, message: Any) -> str | None:
        """Name the end that something is tried again on account of, after a pause."""
        if not isinstance(message, TimerFired) or message.kind not in _AGAIN:
            return None
        undoing = message.kind is TimerKind.UNDO_RETRY
        return self._results.get((message.run_id, message.step_id, message.attempt, undoing))

    def _elsewhere(self, ident: str) -> Node:
        """Put a message into the tree that was not read."""
        node = self._nodes[ident] = Node(ident)
        self._all.append(node)
        decided_at = self._decided.get(ident)
        self._hang(node, self._nodes.get(decided_at) if decided_at else None)
        return node

    def _hang(self, node: Node, cause: Node | None) -> None:
        if cause is None or self._root(cause) is node:
            return
        node.parent = cause
        cause.children.append(node)
        self._top[id(node)] = cause

    def _root(self, node: Node) -> Node:
        passed = []
        while (above := self._top.get(id(node))) is not None:
            passed.append(node)
            node = above
        for each in passed:  # so that the way is short for those that follow
            self._top[id(each)] = node
        return node
