"""A streamed answer: told piece by piece, and put together into the body that it would have been.

Source: server-sent events with `chat.completion.chunk` objects, ended by `[DONE]`. A server that
answers with one body in spite of `stream` is read all the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlings.messages.errors import StarlingsError

from . import errors
from .errors import ModelAway
from .question import OnText
from .well_formed import halved, well_formed

_LONGEST = 4_000_000
_LONGEST_LINE = 64 * 1024 * 1024
_CALLS_MOST = 1_000


async def read_stream(chunks: AsyncIterator[bytes], on_text: OnText) -> bytes:
    """Read a stream to its end; return the body of a completion.

    Raises:
        ModelAway: the stream broke off.
    """
    assembled, half = _Assembled(), ""
    try:
        await on_text("")
        async for line in _lines(chunks):
            if not line.startswith("data:"):
                assembled.take_plain(line)
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                assembled.ended = True
                break
            text, half = halved(half + assembled.add(data))
            if text:
                await on_text(well_formed(text))
    except StarlingsError:
        raise
    except Exception as error:  # of the HTTP library, whichever the client uses
        raise _broken(type(error).__name__) from None
    if assembled.error is not None:
        return json.dumps({"error": assembled.error}).encode()
    if not assembled.chunks:
        return assembled.plain().encode()
    if not assembled.ended:
        raise _broken("it ended early")
    return json.dumps(assembled.body()).encode()


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    r"""Yield lines as they end with \n; a text within one may have other line ends (U+2028)."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        if b"\n" in chunk:
            *whole, rest = rest.split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")
        elif len(rest) > _LONGEST_LINE:
            raise _broken("a line has no end")
    if rest:
        yield rest.decode(errors="replace").rstrip("\r")


def _broken(why: str) -> ModelAway:
    return ModelAway(f"the model's streamed answer broke off ({why})", code=errors.UNAVAILABLE)


class _Assembled:
    """What the chunks say together."""

    def __init__(self) -> None:
        self.chunks = 0
        self.ended = False
        self.error: Any = None
        self._parts: list[str] = []
        self._plain: list[str] = []
        self._plain_size = 0
        self._size = 0
        self._refusal = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._about: dict[str, Any] = {}
        self._finish: Any = None

    def take_plain(self, line: str) -> None:
        """Take a line in that is none of a stream's: they may all be one body.

        Raises:
            ModelAway: there is no end of them.
        """
        self._plain.append(line)
        self._plain_size += len(line)
        if self._plain_size > _LONGEST_LINE:
            raise _broken("it has no end")

    def plain(self) -> str:
        """Give the lines that were none of a stream's."""
        return "\n".join(self._plain)

    def add(self, data: str) -> str:
        """Take a chunk in; return the text that it adds."""
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(chunk, dict):
            return ""
        self.chunks += 1
        self.error = chunk.get("error") or self.error
        self._about.update({k: chunk[k] for k in ("model", "usage") if chunk.get(k)})
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return ""
        self._finish = choice.get("finish_reason") or self._finish
        self.ended = self.ended or self._finish is not None
        delta = choice.get("delta")
        return self._add_delta(delta) if isinstance(delta, dict) else ""

    def _add_delta(self, delta: dict[str, Any]) -> str:
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict) and len(self._calls) < _CALLS_MOST:
                self._add_call(call, position)
        if isinstance(delta.get("refusal"), str):
            self._refusal += self._bounded(delta["refusal"])
        text = delta.get("content")
        if not isinstance(text, str):
            return ""
        text = self._bounded(text)
        self._parts.append(text)
        return text

    def _bounded(self, text: str) -> str:
        """Give a piece, or nothing once there is more than any answer has."""
        if self._size > _LONGEST:
            return ""
        self._size += len(text)
        return text

    def _add_call(self, call: dict[str, Any], position: int) -> None:
        index = call.get("index")
        key = index if isinstance(index, int) else position
        known = self._calls.setdefault(key, {"id": "", "function": {"name": "", "arguments": ""}})
        known["id"] = call.get("id") or known["id"]
        function = call.get("function")
        if isinstance(function, dict):
            for name in ("name", "arguments"):
                if isinstance(function.get(name), str):
                    known["function"][name] += self._bounded(function[name])

    def body(self) -> dict[str, Any]:
        """Write it as one completion."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._parts)}
        if self._refusal:
            message["refusal"] = self._refusal
        if self._calls:
            message["tool_calls"] = [self._calls[key] for key in sorted(self._calls)]
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        return {**self._about, "choices": [choice]}
