"""Text in the charset that a stranger names: usual ones are read, odd ones do no harm."""

from __future__ import annotations

import encodings
import pkgutil
import time

import pytest

from starlings_agents.net.charsets import read_text

EVERY = sorted(module.name for module in pkgutil.iter_modules(encodings.__path__))


@pytest.mark.parametrize(
    "charset",
    [
        *("utf-8", "UTF8", "utf-16", "utf-32", "utf-8-sig", "latin-1", "iso-8859-15"),
        *("windows-1252", "windows-1250", "macintosh"),
    ],
)
def test_charsets_of_the_web_are_read(charset):
    assert read_text("grün".encode(charset), charset) == "grün"


@pytest.mark.parametrize(
    ("charset", "text"),
    [("koi8-r", "скворец"), ("shift_jis", "椋鳥"), ("gb18030", "椋鸟"), ("euc-kr", "찌르레기")],
)
def test_charsets_of_other_scripts_are_read(charset, text):
    assert read_text(text.encode(charset), charset) == text


@pytest.mark.parametrize("charset", [None, "", "no-such", "x\0y", "zlib", "\udc80"])
def test_where_no_charset_is_known_it_is_utf_8(charset):
    assert read_text("grün\xff".encode() + b"\xff", charset) == "grün\xff\N{REPLACEMENT CHARACTER}"


def test_no_charset_that_python_knows_keeps_it_busy_or_gives_what_utf_8_cannot_carry():
    body = b"a" * 100_000 + b"-" + bytes(range(256)) * 400 + b"\\ud800+2AA-"
    began = time.process_time()
    for charset in EVERY:
        read_text(body, charset).encode()
    assert time.process_time() - began < 30  # punycode alone would take minutes
