r"""Text that UTF-8 can carry, of what JSON may have in it.

An escape such as `\ud83d` in JSON is half of a character. Models break emoji off in the middle, and
servers cut them in two on their way; a text with such a half cannot be sent, kept or told. Halves
that stand next to each other are joined, others become the replacement character.
"""

from __future__ import annotations

import re
from typing import Any

_FIRST_HALF = re.compile("[\ud800-\udbff]\\Z")
_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def well_formed(text: str) -> str:
    """Return a text without halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_json(value: Any, written: str) -> Any:
    """Return what was read out of JSON without halves of characters."""
    return _cleaned(value) if _HALF_ESCAPED.search(written) else value


def halved(text: str) -> tuple[str, str]:
    """Split a half of a character off the end of a text, whose other half may be on its way."""
    found = _FIRST_HALF.search(text)
    return (text[:-1], text[-1]) if found else (text, "")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return value
