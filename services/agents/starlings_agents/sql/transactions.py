"""Statements that begin or end a transaction: a step has its own, and the result lies in it.

Where a statement ended it, the key of the attempt could be kept without its result.
"""

from __future__ import annotations

import re

from starlings import StepFailed

_CONTROL = frozenset(
    {"ABORT", "BEGIN", "COMMIT", "END", "RELEASE", "ROLLBACK", "SAVEPOINT", "START"}
)
_SKIPPED = re.compile(r"[\s;\x00]+|--[^\r\n]*")
_WORD = re.compile(r"[A-Za-z]+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def refused() -> StepFailed:
    """Say what to do instead."""
    return StepFailed(
        "a step runs one statement in a transaction of its own, which is committed where the "
        "statement succeeds: leave out what begins or ends a transaction",
        code="input_invalid",
    )


def controls_transaction(sql: str) -> bool:
    """Say whether PostgreSQL would take a statement for one that begins or ends a transaction."""
    at = _begin_of(sql)
    words = _WORD.match(sql, at)
    if words is None:
        return False
    first = words.group().upper()
    if first != "PREPARE":
        return first in _CONTROL
    following = _WORD.match(sql, _begin_of(sql, words.end()))
    return following is not None and following.group().upper() == "TRANSACTION"


def _begin_of(sql: str, at: int = 0) -> int:
    """Skip blanks, empty statements and comments, which may lie within each other."""
    while True:
        if sql.startswith("/*", at):
            at = _after_comment(sql, at)
        elif found := _SKIPPED.match(sql, at):
            at = found.end()
        else:
            return at


def _after_comment(sql: str, at: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)
