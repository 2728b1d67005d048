"""Cutting a text into passages that are short enough to be quoted."""

from __future__ import annotations

import re

LONGEST = 1_000
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n")
_WORD = re.compile(r"\s+")


def passages(text: str) -> list[str]:
    """Cut at paragraphs, long ones at sentences, and those at words."""
    return _packed(text.strip(), [_PARAGRAPH, _SENTENCE, _WORD], "\n\n")


def _packed(text: str, borders: list[re.Pattern[str]], glue: str) -> list[str]:
    if len(text) <= LONGEST:
        return [text] if text else []
    if not borders:
        return [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)]
    packed: list[str] = []
    for part in borders[0].split(text):
        if packed and part and len(packed[-1]) + len(glue) + len(part) <= LONGEST:
            packed[-1] += glue + part
        else:
            packed += _packed(part.strip(), borders[1:], " ")
    return packed
