"""Summing pages up: what the model is told, and which of the sources its text names.

A page is data of a stranger. It reaches the model as JSON between tags that no page can close,
under a rule not to follow what stands in it; and the model gets no tools here, so a page that
misleads it can spoil its own summary and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlings.llm.chat import DATA_RULE, escaped_json

from .extracting import Text

OPEN, CLOSE = "<pages>", "</pages>"
OFFLINE_MODEL = "starlings-offline-rules"
INSTRUCTIONS = f"""You answer a question from pages of the web.
{DATA_RULE}
The pages stand between {OPEN} and {CLOSE} as JSON, each with its number. Use nothing but them.
Put the number of the page in square brackets, as in [1], behind each statement.
Where pages contradict each other, say so. Where they do not answer the question, say that.
Answer in the language of the question, in a few sentences."""

_CITED = re.compile(r"\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)
_SENTENCES = 2
_SENTENCE_LIMIT = 300


def task_of(question: str, pages: Sequence[Text]) -> str:
    """Put the question and the pages into one message."""
    listed = [
        {"number": number, "url": page.url, "title": page.title, "text": page.text}
        for number, page in enumerate(pages, 1)
    ]
    # "<" is escaped, so that no page can close the block and speak outside it
    block = ",\n".join(map(escaped_json, listed))
    return f"{OPEN}\n[{block}]\n{CLOSE}\n\nQuestion: {question}"


def cited(text: str, count: int) -> tuple[str, set[int]]:
    """Leave out references to pages that do not exist; return the numbers of the others, too."""
    found: set[int] = set()

    def keep(match: re.Match[str]) -> str:
        numbers = [int(number) for number in match[1].split(",")]
        there = [number for number in numbers if 1 <= number <= count]
        found.update(there)
        return f"[{', '.join(map(str, there))}]" if there else ""

    return _CITED.sub(keep, text).strip(), found


def beginnings(pages: Sequence[Text]) -> str:
    """Quote how each page begins: what can be said honestly without a language model."""
    quoted = []
    for number, page in enumerate(pages, 1):
        text = " ".join(line for line in page.text.splitlines() if not line.startswith("#"))
        text = " ".join(text.split())
        sentences = [match[0].strip() for match in _SENTENCE.finditer(text)][:_SENTENCES]
        quoted.append(f"{(' '.join(sentences) or text)[:_SENTENCE_LIMIT]} [{number}]")
    return "\n".join(quoted)
