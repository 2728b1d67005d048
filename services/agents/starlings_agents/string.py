"""The agent `string`: counting and changing text; what goes beyond stands in `text_tools`."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import Field

from starlings import Agent

from .text_tools import TOOLS, check_length

agent = Agent(
    "string",
    description=(
        "Work on text: count words, letters and characters, reverse, change case, replace, trim, "
        "join, split, repeat, search, cut, pad, wrap, sort lines, find patterns, e-mails, links "
        "and numbers, compare, encode, hash, read JSON"
    ),
)

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")  # an apostrophe ends no word
_VOWELS = frozenset("aeiou")
_JOINER = "\u200d"  # joins emoji into one picture
_MODIFIERS = frozenset(chr(c) for c in (*range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400), 0x200D))


@agent.tool(idempotent=True)
def count_words(text: str) -> int:
    """Counts the words of a text: whatever stands between blanks."""
    return len(text.split())


@agent.tool(idempotent=True)
def count_letters(text: str) -> int:
    """Counts the letters of a text, without blanks, digits and punctuation."""
    return sum(character.isalpha() for character in text)


@agent.tool(idempotent=True)
def count_characters(text: str) -> int:
    """Counts all characters of a text, blanks and punctuation too: its length."""
    return len(text)


@agent.tool(idempotent=True)
def count_vowels(text: str) -> int:
    """Counts the vowels (a, e, i, o, u, with accents too) of a text."""
    return sum(c in _VOWELS for c in unicodedata.normalize("NFD", text.casefold()))


@agent.tool(idempotent=True)
def count_lines(text: str) -> int:
    """Counts the lines of a text."""
    return len(text.splitlines())


@agent.tool(idempotent=True)
def count_occurrences(
    text: str, part: Annotated[str, Field(min_length=1)], *, ignore_case: bool = False
) -> int:
    """Counts how often a part occurs in a text, without overlaps."""
    if ignore_case:
        text, part = text.casefold(), part.casefold()
    return text.count(part)


@agent.tool(idempotent=True)
def contains(text: str, part: str, *, ignore_case: bool = False) -> bool:
    """Says whether a text contains a part."""
    if ignore_case:
        text, part = text.casefold(), part.casefold()
    return part in text


@agent.tool(idempotent=True)
def reverse(text: str) -> str:
    """Reverses a text; accents stay with their letters."""
    clusters: list[str] = []
    for character in text:
        belongs = unicodedata.combining(character) or character in _MODIFIERS
        if clusters and (belongs or clusters[-1].endswith(_JOINER)):
            clusters[-1] += character
        else:
            clusters.append(character)
    return "".join(reversed(clusters))


@agent.tool(idempotent=True)
def upper(text: str) -> str:
    """Changes a text to upper case."""
    return text.upper()


@agent.tool(idempotent=True)
def lower(text: str) -> str:
    """Changes a text to lower case."""
    return text.lower()


@agent.tool(idempotent=True)
def title(text: str) -> str:
    """Changes a text to title case: each word begins with a capital letter."""
    return _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), text)


@agent.tool(idempotent=True)
def capitalize(text: str) -> str:
    """Makes the first character a capital letter, and the others small."""
    return text.capitalize()


@agent.tool(idempotent=True)
def replace(text: str, old: Annotated[str, Field(min_length=1)], new: str) -> str:
    """Replaces each occurrence of old in a text by new."""
    check_length(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


@agent.tool(idempotent=True)
def trim(text: str) -> str:
    """Removes blanks and line ends at both ends of a text."""
    return text.strip()


@agent.tool(idempotent=True)
def concatenate(left: str, right: str) -> str:
    """Puts two texts together, with nothing in between."""
    check_length(len(left) + len(right))
    return left + right


@agent.tool(idempotent=True)
def join(texts: list[str], separator: str = " ") -> str:
    """Joins texts into one, with a separator in between."""
    check_length(sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0))
    return separator.join(texts)


@agent.tool(idempotent=True)
def split(text: str, separator: str = "") -> list[str]:
    """Splits a text at each separator; without one, at blanks."""
    return text.split(separator) if separator else text.split()


@agent.tool(idempotent=True)
def repeat(text: str, count: Annotated[int, Field(ge=0)]) -> str:
    """Repeats a text so many times, with nothing in between."""
    check_length(len(text) * count)
    return text * count if text else ""


@agent.tool(idempotent=True)
def is_palindrome(text: str) -> bool:
    """Says whether a text reads the same backwards, looking at letters and digits only."""
    characters = [c for c in text.casefold() if c.isalnum()]
    return characters == characters[::-1]


for _function in TOOLS:
    agent.tool(idempotent=True)(_function)
