"""The grammar of requests: commands, noun phrases, infix arithmetic, references to results.

    request    = clause { separator clause }
    clause     = [lead] (command | infix operator and operand | noun phrase | expression)
    command    = a pattern of `operations`, such as "multiply {a} by {b}"
    expression = arithmetic with the usual precedence, over operands
    operand    = number | "(" expression ")" | noun phrase | reference

Reading is recursive descent that goes back where a pattern does not fit. What is left unread makes
the whole request not understood: to do a part and drop the rest would be no honest answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import vocabulary
from .cursor import Cursor
from .expressions import (
    ALL,
    PREVIOUS,
    NotUnderstood,
    Number,
    Operation,
    Reference,
    Text,
    Value,
    folded,
)
from .operations import NUMERIC_ROLES, OPERATIONS, Area
from .patterns import Pattern, Slot, command_words, commands, phrases
from .references import read_reference
from .tokens import Kind, tokenize

MAX_CHARS = 10_000
_MAX_DEPTH = 25
_MAX_PLACE_WORDS = 3
_MAX_TRIES = 3_000  # patterns that begin to fit; a long honest request needs a tenth of that

Read = Callable[[], Value | None]


@dataclass(frozen=True)
class Clause:
    """One thing that is asked for; `text` is how, where it needs no earlier words to be clear."""

    value: Operation
    text: str


def parse(text: str) -> list[Clause]:
    """Read a request.

    Raises:
        NotUnderstood: with the part that is not understood.
    """
    if len(text) > MAX_CHARS:
        raise NotUnderstood(f"a text of {len(text):,} characters")
    clauses = _Reader(Cursor(tokenize(text), text)).request()
    if not clauses:
        raise NotUnderstood(repr(text.strip()) if text.strip() else "an empty request")
    return clauses


class _Reader:
    """Recursive descent; a method that returns None has left the cursor where it was."""

    def __init__(self, cursor: Cursor) -> None:
        self._at = cursor
        self._depth = 0
        self._tries = 0
        self._clauses: list[Clause] = []

    def request(self) -> list[Clause]:
        """Read all clauses."""
        while True:
            self._skip_separators()
            if self._at.is_done:
                return self._clauses
            self._clause()
            if not (self._at.is_done or self._is_separator()):
                raise NotUnderstood(repr(self._at.rest()))

    # -- clauses -----------------------------------------------------------------------------

    def _clause(self) -> None:
        begin = self._at.position
        values = self._goes_on() or self._asked()
        while not values and self._at.skip_any(vocabulary.LEADS):
            values = self._asked()
        operations = [value for value in values or [] if isinstance(value, Operation)]
        if not operations or not self._clauses_may_end():
            self._at.position = begin
            raise NotUnderstood(repr(self._at.rest()))
        words = self._at.since(begin)
        alone = len(operations) == 1
        self._clauses += [Clause(o, words if alone else "") for o in operations]
        while self._at.skip_any(vocabulary.TAILS):
            pass

    def _clauses_may_end(self) -> bool:
        begin = self._at.position
        while self._at.skip_any(vocabulary.TAILS):
            pass
        ends = self._at.is_done or self._is_separator()
        self._at.position = begin
        return ends

    def _is_separator(self) -> bool:
        return self._at.word() in vocabulary.SEPARATORS or self._at.word() in vocabulary.STOPS

    def _skip_separators(self) -> None:
        while self._is_separator():
            self._at.position += 1

    def _goes_on(self) -> list[Value] | None:
        """Read "times 3" or "squared", which go on from the clause before."""
        if not self._clauses:
            return None
        begin = self._at.position
        value = self._infix_after(PREVIOUS)
        return [value] if self._at.position != begin else None

    def _asked(self) -> list[Value] | None:
        """Read a command, a noun phrase or arithmetic that fills the rest of the clause."""
        begin = self._at.position
        for read in (self._command, self._noun_phrases):
            values = read()
            if values:
                last = self._infix_after(values[-1])
                if self._clauses_may_end():
                    return [*values[:-1], last]
            self._at.position = begin
        value = self._expression()
        return None if value is None or isinstance(value, Reference) else [value]

    def _command(self) -> list[Value] | None:
        return self._match_first(commands())

    # -- patterns ----------------------------------------------------------------------------

    def _match_first(self, patterns: tuple[Pattern, ...]) -> list[Value] | None:
        begin = self._at.position
        if self._depth > _MAX_DEPTH:
            return None
        self._depth += 1
        try:
            for pattern in patterns:
                values = self._match(pattern)
                if values:
                    return values
                self._at.position = begin
        finally:
            self._depth -= 1
        return None

    def _noun_phrases(self) -> list[Value] | None:
        begin = self._at.position
        self._at.skip(("the",))
        values = self._match_first(phrases())
        if values is None:
            self._at.position = begin
        return values

    def _noun_phrase(self, *, number: bool) -> Value | None:
        """Read a noun phrase with one result, which has to be a number where `number` says so."""
        begin = self._at.position
        values = self._noun_phrases() or []
        fits = not number or all(isinstance(v, Operation) and _gives_number(v) for v in values)
        if len(values) == 1 and fits:
            return values[0]
        self._at.position = begin
        return None

    def _match(self, pattern: Pattern) -> list[Value] | None:
        """Match a pattern here; several places make several values."""
        starts = pattern.starts()
        if starts is not None and self._at.word() not in starts:
            return None
        self._tries += 1
        if self._tries > _MAX_TRIES:
            raise NotUnderstood("a request as entangled as this")
        bound: dict[str, list[Value]] = {}
        for index, element in enumerate(pattern.elements):
            if isinstance(element, Slot):
                is_last = index == len(pattern.elements) - 1
                values = self._slot(element, pattern, is_last=is_last)
                if not values:
                    return None
                bound["text" if element.role == "literal" else element.role] = values
            elif self._at.word() in element.words:
                self._at.position += 1
            elif not element.optional:
                return None
        return _operations(pattern, bound)

    def _slot(self, slot: Slot, pattern: Pattern, *, is_last: bool) -> list[Value] | None:
        if slot.role == "place":
            return self._places()
        if slot.role == "literal":
            token = self._at.take(Kind.TEXT)
            return [Text(token.value)] if token else None
        if slot.role == "list":
            numeric = OPERATIONS[pattern.operation].roles[0] in NUMERIC_ROLES
            inner = pattern in phrases()
            return self._list(self._tight if numeric else self._text, inner=inner)
        if slot.role in NUMERIC_ROLES:
            tight = slot.tight or is_last
            return _listed(self._tight(powers=not slot.tight) if tight else self._expression())
        return _listed(self._text())

    def _list(self, read: Read, *, inner: bool) -> list[Value] | None:
        """Read two or more operands, or one reference to all results.

        The list of an `inner` phrase ends before another one: "the sum of 1 and 2 and the product
        of 3 and 4" has two lists of two.
        """
        values = _listed(read()) or []
        while values:
            begin = self._at.position
            value = None
            if self._at.skip_any(vocabulary.BETWEEN_ITEMS) and not self._is_command():
                another = inner and self._is_command(behind_article=True)
                value = read()
                value = None if another and isinstance(value, Operation) else value
            if value is None:
                self._at.position = begin
                break
            values.append(value)
        return values if len(values) > 1 or values == [ALL] else None

    def _is_command(self, *, behind_article: bool = False) -> bool:
        ahead = 1 if behind_article and self._at.word() == "the" else 0
        return self._at.word(ahead) in command_words()

    # -- arithmetic --------------------------------------------------------------------------

    def _expression(self) -> Value | None:
        left = self._tight()
        return None if left is None else self._infix_after(left)

    def _infix_after(self, left: Value) -> Value:
        left = self._power(self._postfix(left))
        left = self._level(left, vocabulary.PRODUCT, self._tight)
        return self._level(left, vocabulary.SUM, self._product)

    def _product(self) -> Value | None:
        left = self._tight()
        return None if left is None else self._level(left, vocabulary.PRODUCT, self._tight)

    def _level(self, left: Value, operators: vocabulary.Operators, read: Read) -> Value:
        while not isinstance(left, Text):
            begin = self._at.position
            name = next((name for words, name in operators if self._at.skip(words)), None)
            right = read() if name else None
            if name is None or right is None:
                self._at.position = begin
                break
            left = Operation(name, (left, right))
        return left

    def _tight(self, *, powers: bool = True) -> Value | None:
        """Read an operand with its powers; a minus in front binds less than they do."""
        begin = self._at.position
        negative = self._at.skip_any(vocabulary.NEGATIVE)
        value = self._operand()
        if value is None:
            self._at.position = begin
            return None
        value = self._postfix(value)
        value = self._power(value) if powers else value
        if negative and isinstance(value, Number):
            return Number(f"-{value.digits}")
        return Operation("multiply", (value, Number("-1"))) if negative else value

    def _power(self, base: Value) -> Value:
        """Read "to the power of …" where it follows; powers bind to the right."""
        begin = self._at.position
        if not any(self._at.skip(words) for words, _ in vocabulary.POWER):
            return base
        exponent = self._tight()
        if exponent is None:
            self._at.position = begin
            return base
        return Operation("power", (base, exponent))

    def _postfix(self, value: Value) -> Value:
        while True:
            found = next((entry for entry in vocabulary.POSTFIX if self._at.skip(entry[0])), None)
            if found is None:
                return value
            _, name, operand = found
            value = Operation(name, (value, Number(operand)) if operand else (value,))

    def _operand(self) -> Value | None:
        number = self._at.take(Kind.NUMBER)
        if number is not None:
            return self._percent(Number(number.value))
        if self._at.word() == "(":
            return self._parenthesis()
        return self._noun_phrase(number=True) or read_reference(self._at)

    def _percent(self, number: Number) -> Value:
        begin = self._at.position
        whole = self._tight() if self._at.skip_any(vocabulary.PERCENT) else None
        if whole is None:
            self._at.position = begin
            return number
        return Operation("divide", (Operation("multiply", (number, whole)), Number("100")))

    def _parenthesis(self) -> Value | None:
        begin = self._at.position
        self._at.position += 1
        self._depth += 1
        value = self._expression() if self._depth <= _MAX_DEPTH else None
        self._depth -= 1
        if value is not None and self._at.skip((")",)):
            return value
        self._at.position = begin
        return None

    # -- texts and places --------------------------------------------------------------------

    def _text(self) -> Value | None:
        begin = self._at.position
        while self._at.skip_words(vocabulary.FILLERS | {":"}):
            pass
        token = self._at.take(Kind.TEXT)
        if token is not None:
            return Text(token.value)
        self._at.position = begin
        found = self._noun_phrase(number=False) or read_reference(self._at)
        return found or self._bare_text()

    def _bare_text(self) -> Value | None:
        """Take one word or number for a text, or Words With Capitals; others need quotes."""
        begin = self._at.position
        token = self._at.peek()
        if token is None or token.kind is Kind.SIGN or self._at.word() in vocabulary.UNQUOTABLE:
            return None
        self._at.position += 1
        while token.is_capitalised and (after := self._at.peek()) and after.is_capitalised:
            self._at.position += 1
        return Text(self._at.since(begin))

    def _places(self) -> list[Value] | None:
        places = _listed(self._place()) or []
        while places:
            begin = self._at.position
            self._at.skip_any(vocabulary.BETWEEN_ITEMS)
            token = self._at.peek()
            named = token is not None and (token.is_capitalised or token.kind is Kind.TEXT)
            value = self._place() if named and not self._is_command() else None
            if value is None or self._at.position == begin:
                self._at.position = begin
                break
            places.append(value)
        return places or None

    def _place(self) -> Value | None:
        """Read a place: quoted, or up to three words, all with or all without capitals."""
        if (quoted := self._at.take(Kind.TEXT)) is not None:
            return Text(quoted.value)
        begin = self._at.position
        first = self._at.peek()
        while (token := self._at.peek()) is not None and first is not None:
            stops = self._at.word() in vocabulary.PLACE_STOPS and not token.is_capitalised
            if token.kind is not Kind.WORD or stops or token.is_capitalised != first.is_capitalised:
                break
            self._at.position += 1
        count = self._at.position - begin
        if not 1 <= count <= _MAX_PLACE_WORDS:
            self._at.position = begin
            return None
        return Text(self._at.since(begin))


def _gives_number(value: Operation) -> bool:
    known = OPERATIONS[value.name]
    return known.numeric or known.area is Area.WEATHER


def _listed(value: Value | None) -> list[Value] | None:
    return None if value is None else [value]


def _operations(pattern: Pattern, bound: dict[str, list[Value]]) -> list[Value]:
    """Make operations of what a pattern bound; left-out operands are the previous result."""
    if "list" in bound:
        return [folded(pattern.operation, bound["list"])]
    if "place" in bound:
        return [Operation(pattern.operation, (place,)) for place in bound["place"]]
    given = {role: Number(digits) for role, digits in pattern.fixed.items()}
    operands = [
        bound[role][0] if role in bound else given.get(role, PREVIOUS)
        for role in OPERATIONS[pattern.operation].roles
    ]
    return [Operation(pattern.operation, tuple(operands))]
