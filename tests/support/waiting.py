"""Wait for a condition instead of sleeping for luck."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.01


async def wait_until(
    condition: Callable[[], T | Awaitable[T]], *, timeout_s: float = 30, message: str
) -> T:
    """Await until `condition()` (plain or async) is true and return it; fail with `message`."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        found = await value if inspect.isawaitable(value) else value
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:g} s: {message}")
        await asyncio.sleep(POLL_S)


def wait_until_sync(condition: Callable[[], T], *, timeout_s: float = 30, message: str) -> T:
    """Block until `condition()` is true and return it; fail with `message`."""
    end = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:g} s: {message}")
        time.sleep(POLL_S)
