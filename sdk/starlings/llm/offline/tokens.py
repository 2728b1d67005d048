# ruff: noqa: RUF001 - people type these quotes and signs
"""Cut a request into numbers, quoted texts, words and signs.

Number words become numbers ("twenty-one", "two hundred and five", "three point five"); a hyphen
between letters joins words, anywhere else it is a minus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a token is."""

    NUMBER = "number"
    TEXT = "text"
    WORD = "word"
    SIGN = "sign"


@dataclass(frozen=True)
class Token:
    """A token: its value, and where it stood in the request."""

    kind: Kind
    value: str
    start: int
    end: int

    @property
    def is_capitalised(self) -> bool:
        """Tell whether it is a word that begins with a capital letter."""
        return self.kind is Kind.WORD and self.value[:1].isupper()


QUOTES = {"'": "'", '"': '"', "“": "”", "‘": "’", "«": "»", "`": "`", "„": "“"}
_UNITS = tuple(
    re.findall(
        r"\w+",
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen",
    )
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: number for number, word in enumerate(_UNITS)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_BEFORE_ONE = frozenset({"first", "second", "third", "last", "previous", "other", "this", "that"})
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "**": "^", "²": "²", "³": "³"}


def tokenize(text: str) -> list[Token]:
    """Cut a text into tokens; quotes that are not closed count as signs."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        token = _token_at(text, position)
        tokens.append(token)
        position = token.end
    return _join_number_words(_without_hyphens(tokens))


def _token_at(text: str, start: int) -> Token:
    quoted = _quoted_at(text, start)
    if quoted is not None:
        return quoted
    number = _NUMBER.match(text, start)
    if number:
        return Token(Kind.NUMBER, number[0].replace(",", ""), start, number.end())
    word = _WORD.match(text, start)
    if word:
        return Token(Kind.WORD, word[0].replace("’", "'"), start, word.end())
    sign = "**" if text.startswith("**", start) else text[start]
    return Token(Kind.SIGN, _SIGNS.get(sign, sign), start, start + len(sign))


def _quoted_at(text: str, start: int) -> Token | None:
    """Read a quoted text; an apostrophe within a word neither opens nor closes one."""
    closing = QUOTES.get(text[start])
    if closing is None or (start and text[start - 1].isalnum()):
        return None
    end = start
    while (end := text.find(closing, end + 1)) != -1:
        after = text[end + 1 : end + 2]
        if not after.isalnum() or closing not in "'’":
            return Token(Kind.TEXT, text[start + 1 : end], start, end + 1)
    return None


def _without_hyphens(tokens: list[Token]) -> list[Token]:
    """Drop hyphens that join two words without a blank."""
    kept = []
    for index, token in enumerate(tokens):
        if token.value == "-" and 0 < index < len(tokens) - 1:
            before, after = tokens[index - 1], tokens[index + 1]
            words = before.kind is Kind.WORD and after.kind is Kind.WORD
            if words and before.end == token.start and token.end == after.start:
                continue
        kept.append(token)
    return kept


# -- number words ------------------------------------------------------------------------------


def _join_number_words(tokens: list[Token]) -> list[Token]:
    joined: list[Token] = []
    index = 0
    while index < len(tokens):
        number, used = ("", 0) if _is_pronoun(tokens, index) else _number_words(tokens, index)
        if used:
            last = tokens[index + used - 1]
            joined.append(Token(Kind.NUMBER, number, tokens[index].start, last.end))
        else:
            joined.append(tokens[index])
        index += used or 1
    return joined


def _is_pronoun(tokens: list[Token], index: int) -> bool:
    """Tell "the second one" from the number one."""
    before = _word(tokens, index - 1) if index else None
    return _word(tokens, index) == "one" and before in _BEFORE_ONE


def _number_words(tokens: list[Token], start: int) -> tuple[str, int]:
    """Read a number in words; returns it with how many tokens it took, 0 for none."""
    total, current, used = 0, None, 0
    previous = ""
    while (word := _word(tokens, start + used)) is not None:
        if word in _SMALL and _may_follow(previous, word):
            current = (current or 0) + _SMALL[word]
        elif word == "hundred" and current is not None and 0 < current < 10:  # noqa: PLR2004
            current *= 100
        elif word in _SCALES and current is not None:
            total, current = total + current * _SCALES[word], 0
        elif word == "and" and previous == "hundred" and _word(tokens, start + used + 1) in _SMALL:
            pass
        else:
            break
        previous = word
        used += 1
    if current is None:
        return "", 0
    decimals, more = _decimals(tokens, start + used)
    return f"{total + current}{decimals}", used + more


def _may_follow(previous: str, word: str) -> bool:
    """Tell whether a small number goes on the one before: twenty one, but not one two."""
    if previous in _TENS:
        return 0 < _SMALL[word] < 10  # noqa: PLR2004
    return previous not in _SMALL


def _decimals(tokens: list[Token], start: int) -> tuple[str, int]:
    if _word(tokens, start) != "point":
        return "", 0
    digits = ""
    while (word := _word(tokens, start + 1 + len(digits))) in _UNITS[:10]:
        digits += str(_SMALL[word or ""])
    return (f".{digits}", len(digits) + 1) if digits else ("", 0)


def _word(tokens: list[Token], index: int) -> str | None:
    if index < len(tokens) and tokens[index].kind is Kind.WORD:
        return tokens[index].value.lower()
    return None
