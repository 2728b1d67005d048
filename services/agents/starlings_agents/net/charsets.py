"""Reading text in the charset that a stranger names.

Only charsets that stand for texts of the web are used. Python knows others by name that take time
without bounds (`punycode`), take no errors (`idna`), or make of bytes what no UTF-8 can carry
(`utf-7`, `unicode_escape`): whoever answers could choose them.
"""

from __future__ import annotations

import codecs

_FAMILIES = ("cp125", "iso8859-", "euc_", "koi8-", "mac-")
_KNOWN = frozenset(
    {"utf-8", "utf-8-sig", "ascii", "cp437", "cp866", "cp874", "cp932", "cp949", "tis-620"}
    | {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
    | {"shift_jis", "iso2022_jp", "iso2022_kr", "gb2312", "gbk", "gb18030"}
    | {"cp950", "big5", "big5hkscs"}
)


def read_text(body: bytes, charset: str | None) -> str:
    """Read a text; in a charset that is not used it is read as UTF-8."""
    return body.decode(_usable(charset or ""), errors="replace")


def _usable(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):  # such as one with a NUL in it
        return "utf-8"
    return name if name in _KNOWN or name.startswith(_FAMILIES) else "utf-8"
