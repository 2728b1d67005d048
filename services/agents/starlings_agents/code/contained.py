"""What runs in the container: the program, with CPython; it knows nothing but the standard library.

It reads the same JSON object as the sandbox's process, and answers with the same one.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

NAME = "main.py"
LONGER_S = 2.0
TIMED_OUT = 124  # as `timeout` says it


class Printed(io.TextIOBase):
    """What a program prints: the beginning is kept."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._parts: list[str] = []
        self.cut = False

    def write(self, text: str, /) -> int:
        """Take what was printed."""
        self.cut |= len(text) > self._left
        self._parts.append(text[: self._left])
        self._left -= len(self._parts[-1])
        return len(text)

    @property
    def text(self) -> str:
        """The beginning."""
        return "".join(self._parts)


def evaluate(code: str, names: dict[str, Any]) -> Any:
    """Run statements; the value of a last expression is the result."""
    tree = ast.parse(code, NAME)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NAME, "exec"), names)  # noqa: S102 - it is what this container is for
    if last is None:
        return None
    expression = ast.Expression(last.value)  # type: ignore[attr-defined]
    return eval(compile(expression, NAME, "eval"), names)  # noqa: S307 - as above


def out_of_time(_number: int, _frame: Any) -> None:
    """End the program."""
    raise TimeoutError("it ran for too long")


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run a program and say what came of it."""
    printed = Printed(asked["printed_characters"])
    said: dict[str, Any] = {}
    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            value = evaluate(asked["code"], {"__name__": "__main__", **asked["inputs"]})
        said["result"] = checked(value, asked["result_bytes"])
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        own = [line for line in lines if '"<string>"' not in line]
        said |= {"error": "".join(own), "kind": type(error).__name__}
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {**said, "printed": printed.text, "printed_cut": printed.cut}


def checked(value: Any, limit: int) -> Any:
    """Bring a result into JSON, up to so many bytes."""
    text = json.dumps(value, allow_nan=False, default=plain)
    if len(text.encode()) > limit:
        raise ValueError(
            f"the result has more than {limit:,} bytes as JSON (STARLINGS_CODE_RESULT_BYTES)"
        )
    return json.loads(text)


def plain(value: Any) -> Any:
    """Bring into JSON what it does not know."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"the result holds a {type(value).__name__}, which JSON cannot carry")


def supervise(asked: dict[str, Any]) -> int:
    """Run the program in a process of its own, and end the container when its time is over.

    This process is the container's first: nothing in it can kill it, and all dies with it. So a
    container ends in time even where whoever started it is gone.
    """
    child = os.fork()
    if child == 0:
        sys.stdout.write(json.dumps(run(asked)))
        sys.stdout.flush()
        os._exit(0)
    until = time.monotonic() + asked["seconds"] + LONGER_S
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code  # as a shell tells of signals
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return TIMED_OUT


if __name__ == "__main__":
    sys.exit(supervise(json.loads(sys.stdin.buffer.read())))
