"""Settings whose names are the operator's own, such as `STARLINGS_SQL_<NAME>_URL`.

Read from the environment and `.env`, like all others. Values may be secrets: nothing here writes
one into a message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from dotenv import dotenv_values


def named_values(prefix: str, suffix: str = "") -> dict[str, str]:
    """Read `<prefix><NAME><suffix>`; names come back in lower case, empty values not at all."""
    found: dict[str, str] = {}
    environment = {**dotenv_values(".env"), **os.environ}
    for key, value in environment.items():
        upper = key.upper()
        if not value or not upper.startswith(prefix) or not upper.endswith(suffix):
            continue
        name = upper[len(prefix) : len(upper) - len(suffix)]
        if name:
            found[name.lower()] = value
    return found


def without(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text that others wrote, such as logs and messages of drivers."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text
