"""How a secret may be written: as it is, escaped, in hex, and within any base64.

Whoever takes a secret out of texts looks for all of these: a server quotes the address that it was
asked under, a header carries base64 of a name and a password, a model repeats JSON within a string.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

_SHORTEST_BASE64 = 6
_SAFE_IN_PATH = "!$&'()*+,;=:@/~"
_ESCAPE = re.compile("%[0-9A-F]{2}")


def forms_of(value: str) -> set[str]:
    """List how a value may come back."""
    escaped = {quote(value, safe=safe) for safe in ("", "/", _SAFE_IN_PATH)} | {quote_plus(value)}
    escaped |= {_ESCAPE.sub(lambda found: found[0].lower(), one) for one in escaped}
    other = {value, json.dumps(value)[1:-1], html.escape(value), value.encode().hex()}
    return escaped | other | set(_within_base64(value.encode()))


def _within_base64(data: bytes) -> Iterator[str]:
    """List what base64 makes of data at each of the three places within a group of bytes."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        begin = -(-before * 8 // 6)  # characters that hold bits of what stands before
        end = len(coded) - bool((before + len(data)) % 3)  # and of what stands behind
        if end - begin >= _SHORTEST_BASE64:
            yield coded[begin:end]
            yield coded[begin:end].replace("+", "-").replace("/", "_")
