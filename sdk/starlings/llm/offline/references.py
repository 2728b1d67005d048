"""Read what points back to a result: "it", "the results", "the word count", "the result of s1"."""

from __future__ import annotations

import re

from .cursor import Cursor
from .expressions import ALL, PREVIOUS, Reference
from .operations import AREA_NOUNS
from .patterns import nouns
from .tokens import Kind

_PRONOUNS = frozenset({"it", "that", "this"})
_PLURALS = frozenset({"them", "both", "these", "those", "all"})
_RESULT = frozenset({"result", "answer", "output", "outcome", "value", "number", "one", "figure"})
_RESULTS = frozenset({"results", "answers", "outputs", "outcomes", "values", "numbers", "two"})
_BEFORE = frozenset({"previous", "last", "calculated", "final", "resulting", "above", "earlier"})
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_ARTICLES = frozenset({"the", "its", "their", "that", "this", "both", "all", "of"})
_STEP_ID = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9_:-]*")


def read_reference(at: Cursor) -> Reference | None:
    """Read a reference; leaves the cursor alone where there is none."""
    begin = at.position
    found = _plural(at)
    if found is None:
        at.position = begin
        found = _noun_phrase(at)
    if found is None:
        at.position = begin
        found = PREVIOUS if at.skip_words(_PRONOUNS | {"previous"}) else None
    return found


def _plural(at: Cursor) -> Reference | None:
    """Read "them", "both results", "the two numbers", "all of them"."""
    alone = at.word() in _PLURALS
    while at.skip_words(_PLURALS | _ARTICLES | _BEFORE | {"two", "three"}):
        pass
    if at.skip_words(_RESULTS) or alone:
        at.skip(("together",))
        return ALL
    return None


def _noun_phrase(at: Cursor) -> Reference | None:
    at.skip_words(_ARTICLES)
    for number, ordinal in enumerate(_ORDINALS, start=1):
        if at.skip((ordinal,)):
            return Reference(f"#:{number}") if at.skip_words(_RESULT | {"step"}) else None
    before = at.skip_words(_BEFORE)
    noun = _noun(at)
    if noun is not None:
        at.skip_words(_RESULT)
        return noun
    if at.skip_words(_RESULT):
        return _of_what(at) or PREVIOUS
    return PREVIOUS if before and at.skip_words({"step", "calculation"}) else None


def _of_what(at: Cursor) -> Reference | None:
    """Read the rest of "the result of s1", "… of step 2", "… of the word count"."""
    begin = at.position
    if not (at.skip(("of",)) or (at.word(1) == "step" and at.skip(("from",)))):
        return None  # "subtract the result from 10" is no result of 10
    found = _step(at)
    if found is None:
        at.skip_words({"the"})
        found = _noun(at) or _ordinal_step(at)
    if found is None:
        at.position = begin
    return found


def _step(at: Cursor) -> Reference | None:
    """Read a step's id; without the word "step" before, it has to have letters and digits."""
    begin = at.position
    said = at.skip(("step",))
    written = _STEP_ID.match(at.rest())
    name = written[0].strip() if written else ""
    token = at.peek()
    telling = name[:1].isalpha() and any(char.isdigit() for char in name)
    if token is None or not name or not (said or telling):
        at.position = begin
        return None
    if said and token.kind is Kind.NUMBER:
        at.position += 1
        return Reference(f"#:{name}")
    at.raw(token.start + len(name))
    return Reference(f"step:{name}")


def _ordinal_step(at: Cursor) -> Reference | None:
    for number, ordinal in enumerate(_ORDINALS, start=1):
        if at.skip((ordinal,)):
            at.skip_words({"step", "calculation", "task", "part", "result"})
            return Reference(f"#:{number}")
    return None


def _noun(at: Cursor) -> Reference | None:
    for words in nouns():
        if at.skip(words):
            return Reference(f"noun:{' '.join(words)}")
    if at.word() in AREA_NOUNS:
        word = at.word()
        at.position += 1
        return Reference(f"noun:{word}")
    return None
