"""The phrases of `operations`, compiled, and indexed by the words they can begin with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from .operations import OPERATIONS, SHORTCUTS

_ELEMENT = re.compile(r"\[([^\]]+)\]|\{(\w+)(!?)\}|([^\s\[\]{}]+)")


@dataclass(frozen=True)
class Words:
    """One word of the given ones, which may be left out where `optional`."""

    words: frozenset[str]
    optional: bool = False


@dataclass(frozen=True)
class Slot:
    """An operand; a `tight` one stops before infix operators."""

    role: str
    tight: bool = False


@dataclass(frozen=True)
class Pattern:
    """A compiled phrase of an operation."""

    operation: str
    elements: tuple[Words | Slot, ...]
    fixed: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Tell whether it leaves no operand out."""
        roles = {e.role for e in self.elements if isinstance(e, Slot)} | set(self.fixed)
        wanted = set(OPERATIONS[self.operation].roles)
        return "list" in roles or "literal" in roles or wanted <= roles

    def starts(self) -> frozenset[str] | None:
        """Return the words it can begin with; None where it begins with an operand."""
        words: set[str] = set()
        for element in self.elements:
            if isinstance(element, Slot):
                return None
            words |= element.words
            if not element.optional:
                break
        return frozenset(words)


def compile_pattern(operation: str, phrase: str, fixed: dict[str, str] | None = None) -> Pattern:
    """Compile one phrase."""
    elements: list[Words | Slot] = []
    for optional, role, tight, words in _ELEMENT.findall(phrase):
        if role:
            elements.append(Slot(role, tight=bool(tight)))
        else:
            alternatives = frozenset((optional or words).split("|"))
            elements.append(Words(alternatives, optional=bool(optional)))
    return Pattern(operation, tuple(elements), fixed or {})


@cache
def commands() -> tuple[Pattern, ...]:
    """Return all commands; those that leave an operand out come last."""
    found = [compile_pattern(k.name, c) for k in OPERATIONS.values() for c in k.commands]
    found += [
        compile_pattern(s.operation, s.command, s.fixed) for s in SHORTCUTS if not s.is_phrase
    ]
    return tuple(sorted(found, key=lambda pattern: not pattern.is_complete))


@cache
def phrases() -> tuple[Pattern, ...]:
    """Return all noun phrases."""
    found = [compile_pattern(k.name, p) for k in OPERATIONS.values() for p in k.phrases]
    found += [compile_pattern(s.operation, s.command, s.fixed) for s in SHORTCUTS if s.is_phrase]
    return tuple(found)


@cache
def command_words() -> frozenset[str]:
    """Return the words that commands and noun phrases can begin with."""
    return frozenset(word for p in (*commands(), *phrases()) for word in p.starts() or ())


@cache
def nouns() -> dict[tuple[str, ...], frozenset[str]]:
    """Return the operations that a noun ("the word count") may speak of, longest nouns first."""
    found: dict[tuple[str, ...], set[str]] = {}
    for known in OPERATIONS.values():
        for noun in known.nouns:
            found.setdefault(tuple(noun.split()), set()).add(known.name)
    longest_first = sorted(found, key=len, reverse=True)
    return {words: frozenset(found[words]) for words in longest_first}
