"""Text tools of the `string` agent beyond counting and changing: parts, patterns, lines, encodings.

A pattern is matched by an engine that gives up after a second: plans come from models, and there
are patterns that take for ever.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import json
import textwrap
import unicodedata
from collections import Counter
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

import regex
from pydantic import Field, JsonValue

from starlings import StepFailed

PATTERN_TIMEOUT_S = 1.0
MOST_FOUND = 1_000
COMPARED_CHARACTERS = 20_000
MAX_CHARACTERS = 10_000_000

Pattern = Annotated[str, Field(min_length=1, max_length=1_000)]
Encoding = Literal["base64", "hex", "url"]
Hash = Literal["sha256", "sha512", "md5"]


def check_length(characters: int) -> None:
    """Refuse a text that would get too long.

    Raises:
        StepFailed: `result_too_large`.
    """
    if characters > MAX_CHARACTERS:
        raise StepFailed(
            f"the text would have {characters:,} characters, and the limit is {MAX_CHARACTERS:,}",
            code="result_too_large",
        )


def _refuse(message: str) -> StepFailed:
    return StepFailed(message, code="arguments_invalid")


# -- parts -----------------------------------------------------------------------------------------


def substring(text: str, start: int, end: int | None = None) -> str:
    """Takes the part of a text from character start up to, not including, end; 0 is the first.

    Negative places count from the end.
    """
    return text[start:end]


def between(
    text: str, left: Annotated[str, Field(min_length=1)], right: Annotated[str, Field(min_length=1)]
) -> str:
    """Takes what stands between the first left and the next right in a text."""
    _, found, rest = text.partition(left)
    inner, ends, _ = rest.partition(right)
    if not found or not ends:
        raise StepFailed(
            f"the text has no part between {left[:40]!r} and {right[:40]!r}", code="not_found"
        )
    return inner


def truncate(text: str, length: Annotated[int, Field(ge=1)], mark: str = "…") -> str:
    """Cuts a text to so many characters, with a mark where something was cut off."""
    if len(text) <= length:
        return text
    return text[: max(length - len(mark), 0)] + mark[:length]


def pad(
    text: str,
    length: Annotated[int, Field(ge=0)],
    fill: Annotated[str, Field(min_length=1, max_length=1)] = " ",
    side: Literal["left", "right", "both"] = "right",
) -> str:
    """Fills a text up to so many characters at its left, its right or both sides."""
    check_length(length)
    if side == "both":
        return text.center(length, fill)
    return text.rjust(length, fill) if side == "left" else text.ljust(length, fill)


def wrap(text: str, width: Annotated[int, Field(ge=1, le=10_000)] = 80) -> str:
    """Breaks the lines of a text between words, at a width."""
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in text.splitlines())


def slug(text: str) -> str:
    """Makes a short name for addresses and files of a text: "Éclair, 2 €" is "eclair-2"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return "-".join(regex.findall(r"[a-z0-9]+", plain))


# -- lines and words -------------------------------------------------------------------------------


def sort_lines(text: str, *, descending: bool = False, unique: bool = False) -> str:
    """Sorts the lines of a text, ignoring case; unique keeps one of lines that are the same."""
    lines = text.splitlines()
    if unique:
        lines = list(dict.fromkeys(lines))
    return "\n".join(sorted(lines, key=lambda x: (x.casefold(), x), reverse=descending))


def unique_lines(text: str) -> str:
    """Removes lines that have been there before; the others keep their order."""
    return "\n".join(dict.fromkeys(text.splitlines()))


def matching_lines(text: str, part: str, *, ignore_case: bool = False) -> list[str]:
    """Lists the lines of a text that contain a part."""
    wanted = part.casefold() if ignore_case else part
    return [x for x in text.splitlines() if wanted in (x.casefold() if ignore_case else x)]


def frequent_words(text: str, count: Annotated[int, Field(ge=1, le=1_000)] = 10) -> dict[str, int]:
    """Counts the most frequent words of a text, ignoring case and punctuation."""
    words = regex.findall(r"\p{L}[\p{L}\p{M}\p{N}'\u2019-]*", text.casefold())
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:count])


def similarity(left: str, right: str) -> float:
    """Says how alike two texts are: 1 for the same, 0 for nothing in common."""
    if max(len(left), len(right)) > COMPARED_CHARACTERS:
        raise _refuse(f"texts of up to {COMPARED_CHARACTERS:,} characters can be compared")
    if left == right:
        return 1.0
    words = difflib.SequenceMatcher(None, left, right)
    if len(left) * len(right) > COMPARED_CHARACTERS * 100:  # by words, where letters take too long
        words = difflib.SequenceMatcher(None, left.split(), right.split())
    return round(words.ratio(), 4)


# -- patterns --------------------------------------------------------------------------------------


def find_pattern(text: str, pattern: Pattern, *, ignore_case: bool = False) -> list[str]:
    """Lists what a regular expression finds in a text; of its groups, the first one."""
    found: list[str] = []
    try:
        for match in _compiled(pattern, ignore_case=ignore_case).finditer(
            text, timeout=PATTERN_TIMEOUT_S
        ):
            found.append(match[1] or "" if match.re.groups else match[0])
            if len(found) == MOST_FOUND:
                break
    except TimeoutError:
        raise _too_slow(pattern) from None
    return found


def replace_pattern(text: str, pattern: Pattern, new: str, *, ignore_case: bool = False) -> str:
    r"""Replaces what a regular expression finds in a text; \1 stands for its first group."""
    pieces, length, place = [], len(text), 0
    try:
        for match in _compiled(pattern, ignore_case=ignore_case).finditer(
            text, timeout=PATTERN_TIMEOUT_S
        ):
            instead = match.expand(new)
            length += len(instead) - len(match[0])
            check_length(length)
            pieces += [text[place : match.start()], instead]
            place = match.end()
    except TimeoutError:
        raise _too_slow(pattern) from None
    except (regex.error, IndexError) as error:
        raise _refuse(f"{new[:40]!r} cannot replace anything: {error}") from None
    return "".join((*pieces, text[place:]))


def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    try:
        return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise _refuse(f"{pattern[:80]!r} is no regular expression: {error}") from None


def _too_slow(pattern: str) -> StepFailed:
    return StepFailed(
        f"the regular expression {pattern[:80]!r} took longer than {PATTERN_TIMEOUT_S:g} s on this "
        "text; write it without repetitions inside of repetitions",
        code="pattern_too_slow",
    )


def emails(text: str) -> list[str]:
    """Lists the e-mail addresses in a text, each once."""
    found = find_pattern(text, r"[\w.+-]++@(?:[\w-]++\.)+[A-Za-z]{2,}")
    return list(dict.fromkeys(found))


def links(text: str) -> list[str]:
    """Lists the http and https addresses in a text, each once."""
    found = find_pattern(text, r"https?://[^\s<>\"'`]+", ignore_case=True)
    return list(dict.fromkeys(x.rstrip(".,;:!?)]}") for x in found))


def numbers_in(text: str) -> list[str]:
    """Lists the numbers in a text as they are written: 12, -3.5 or 1,000."""
    return find_pattern(text, r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")


# -- encodings -------------------------------------------------------------------------------------


def encode(text: str, encoding: Encoding) -> str:
    """Encodes a text as base64, hex or for the address of a page (url)."""
    if encoding == "url":
        return quote(text, safe="")
    data = text.encode("utf-8", "replace")
    return data.hex() if encoding == "hex" else base64.b64encode(data).decode()


def decode(text: str, encoding: Encoding) -> str:
    """Decodes a text that is encoded as base64, hex or for the address of a page (url)."""
    try:
        if encoding == "url":
            return unquote(text, errors="strict")
        if encoding == "hex":
            return bytes.fromhex(text).decode()
        return base64.b64decode(text, validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise _refuse(f"this is no text as {encoding}: {error}") from None


def hash_text(text: str, algorithm: Hash = "sha256") -> str:
    """Takes the hash of a text (UTF-8), in hex."""
    data = text.encode("utf-8", "replace")
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def read_json(text: str, pointer: str = "") -> JsonValue:
    """Reads a JSON text; a pointer such as /items/0/name takes a part of it (RFC 6901)."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refuse(f"this is no JSON: {error}") from None
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        inside = isinstance(value, dict) and name in value
        if inside or (isinstance(value, list) and name.isdecimal() and int(name) < len(value)):
            value = value[name if inside else int(name)]
        else:
            raise StepFailed(f"there is nothing at {pointer!r} in this JSON", code="not_found")
    result: JsonValue = value
    return result


TOOLS = (
    substring,
    between,
    truncate,
    pad,
    wrap,
    slug,
    sort_lines,
    unique_lines,
    matching_lines,
    frequent_words,
    similarity,
    find_pattern,
    replace_pattern,
    emails,
    links,
    numbers_in,
    encode,
    decode,
    hash_text,
    read_json,
)
