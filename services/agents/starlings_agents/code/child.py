"""A process that runs one program in the sandbox and ends; `sandbox` starts it, and kills it.

It reads one JSON object from standard input and writes one to standard output. It stands between
the agent and the sandbox's worker, so that whatever a program makes of memory or results, it makes
it here: under limits of the operating system that the worker inherits, without the agent's
environment, and in a process group that is killed as a whole.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

OVERHEAD_BYTES = 512 * 1024 * 1024  # of address space, for two processes' code, stacks and heaps
DEPTH_LIMIT = 100
DIGITS_LIMIT = 4_300
KILLED_AFTER_S = 1.0
RECURSION_LIMIT = 400


class NotJson(Exception):  # noqa: N818 - its name is shown to whoever wrote the program
    """A result that JSON cannot carry."""


class Printed:
    """What a program prints: the beginning is kept, the rest is only counted."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._parts: list[str] = []
        self.cut = False

    def __call__(self, _stream: str, text: str) -> None:
        """Take what was printed."""
        self.cut |= len(text) > self._left
        self._parts.append(text[: self._left])
        self._left -= len(self._parts[-1])

    @property
    def text(self) -> str:
        """The beginning."""
        return "".join(self._parts)


def plain(value: Any, most: int = 1_000_000) -> Any:
    """Bring a result of up to so many values into JSON.

    Raises:
        NotJson: saying what is in the way.
    """
    return _plain(value, 0, iter(range(most)))


def _plain(value: Any, depth: int, left: Iterator[int]) -> Any:
    if next(left, None) is None:  # lists may hold each other many times over
        raise NotJson("the result is too large (STARLINGS_CODE_RESULT_BYTES)")
    if depth > DEPTH_LIMIT:
        raise NotJson(f"the result is nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(value, dict):
        return {_key(key): _plain(inner, depth + 1, left) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=lambda item: (type(item).__name__, item))
    if isinstance(value, list | tuple):
        return [_plain(inner, depth + 1, left) for inner in value]
    return _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise NotJson(
        f"the result holds a {type(value).__name__}, which JSON cannot carry; make it numbers, "
        "text, lists and dictionaries"
    )


def _number(value: float) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotJson(f"the result holds {value}, which JSON cannot carry")
    if isinstance(value, int) and abs(value) >= 10**DIGITS_LIMIT:
        raise NotJson(f"the result holds an integer of more than {DIGITS_LIMIT:,} digits")
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float | bool) or key is None:
        return str(key)
    raise NotJson(f"the result has a dictionary with a {type(key).__name__} as key; use text")


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run a program and say what came of it."""
    printed = Printed(asked["printed_characters"])
    said: dict[str, Any] = {}
    try:
        said["result"] = _checked(_value_of(asked, printed), asked["result_bytes"])
    except (MemoryError, RecursionError):
        said |= {"error": "the result is too large", "kind": "MemoryError"}
    except Exception as error:
        said |= _described(error)
    return {**said, "printed": printed.text, "printed_cut": printed.cut}


def _value_of(asked: dict[str, Any], printed: Printed) -> Any:
    from pydantic_monty import Monty, OSPolicy, ResourceLimits  # noqa: PLC0415 - see `main`

    seconds = asked["seconds"]
    limits = ResourceLimits(
        max_feed_duration_secs=seconds,
        max_memory=asked["memory_bytes"],
        max_recursion_depth=RECURSION_LIMIT,
        max_total_sleep_secs=seconds,
        max_suspensions=10_000,
    )
    sleeps = OSPolicy(sleep="system", sleep_system_max=seconds)
    with (
        Monty(request_timeout=seconds + KILLED_AFTER_S) as pool,
        pool.checkout(limits=limits, os_policy=sleeps) as session,
    ):
        return session.feed_run(asked["code"], inputs=asked["inputs"], print_callback=printed)


def _described(error: Exception) -> dict[str, str]:
    from pydantic_monty import (  # noqa: PLC0415 - see `main`
        MontyCrashedError,
        MontyRuntimeError,
        MontySyntaxError,
    )

    if isinstance(error, MontyRuntimeError | MontySyntaxError):
        kind = type(error.exception()).__name__
        return {"error": error.display("traceback"), "kind": kind}
    if isinstance(error, MontyCrashedError):
        if error.timed_out:
            return {"error": "it was killed: it ran for too long", "kind": "TimeoutError"}
        return {"error": "it was killed: it took too much memory or stack", "kind": "MemoryError"}
    return {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}


def _checked(value: Any, limit: int) -> Any:
    result = plain(value, limit)
    size = len(json.dumps(result, ensure_ascii=False, allow_nan=False).encode())
    if size > limit:
        raise NotJson(
            f"the result has {size:,} bytes as JSON, and the limit is {limit:,} "
            "(STARLINGS_CODE_RESULT_BYTES)"
        )
    return result


def _limit(which: int, limit: int, hard: int | None = None) -> None:
    with contextlib.suppress(ValueError, OSError):  # not every system has every limit
        resource.setrlimit(which, (limit, limit if hard is None else hard))


def main() -> None:
    """Run the program that standard input holds; the sandbox is imported under the limits."""
    asked = json.loads(sys.stdin.buffer.read())
    _limit(resource.RLIMIT_AS, OVERHEAD_BYTES + 2 * asked["memory_bytes"])
    cpu_s = math.ceil(asked["seconds"] + 2 * KILLED_AFTER_S) + 5
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 5)  # the first limit says that it was time
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    said = json.dumps(run(asked), ensure_ascii=True, allow_nan=False)
    sys.stdout.write(said)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
