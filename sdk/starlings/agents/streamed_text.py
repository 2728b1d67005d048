"""What a model writes, told as signs of life of the step while it writes.

A sign is `{"model": {"at": 120, "text": "…"}}`: the text that was written since the last one, and
where in the whole it stands. `at` is 0 again where the call is tried again. Signs are facts in the
log: at most one in `EVERY_S` seconds is given, and one with the rest at the end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

EVERY_S = 0.5
LONGEST_CHARS = 16_000  # of one sign; what is more is left out, the answer has it


class StreamedText:
    """Collects pieces of one answer, and tells them now and then."""

    def __init__(
        self,
        tell: Callable[[Any], Awaitable[None]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._told_at = monotonic()
        self._pieces: list[str] = []
        self._at = 0

    async def __call__(self, piece: str) -> None:
        """Take a piece; an empty one says that the text begins anew."""
        if not piece:
            self._pieces, self._at = [], 0
            return
        self._pieces.append(piece)
        if self._monotonic() - self._told_at >= EVERY_S:
            await self.flush()

    async def flush(self) -> None:
        """Tell what was not told yet."""
        text, self._pieces = "".join(self._pieces), []
        if text:
            at, self._at = self._at, self._at + len(text)
            self._told_at = self._monotonic()
            await self._tell({"model": {"at": at, "text": text[:LONGEST_CHARS]}})
