"""Running a program in the sandbox: an interpreter that has no files, network or processes.

The limits of time and memory are the sandbox's own; some of its operations outlast them (a power of
large integers is one), so the process that it lives in has limits of the operating system as well,
and is killed when it does not answer.
"""

from __future__ import annotations

import json
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from starlings import StepFailed

from .outcome import Outcome
from .process import Reply, ask_process
from .settings import CodeSettings

_CHILD = Path(__file__).with_name("child.py")
_START_S = 20.0  # for two processes to start, on a machine that has much to do
_MEGABYTE = 1024 * 1024


async def run_in_sandbox(code: str, inputs: dict[str, Any], settings: CodeSettings) -> Outcome:
    """Run a program; `inputs` are its variables.

    Raises:
        StepFailed: `code_unavailable`.
    """
    if find_spec("pydantic_monty") is None:
        raise StepFailed(
            "the sandbox of the agent 'code' is not installed: pip install "
            "'starlings-agents[code]', or set STARLINGS_CODE_BACKEND=container",
            code="code_unavailable",
        )
    reply = await ask_process(
        [sys.executable, "-I", str(_CHILD)],
        question(code, inputs, settings),
        env={},  # nothing of the agent's own, above all no secrets
        within_s=2 * settings.seconds + _START_S,
        most_bytes=answer_bytes(settings),
    )
    return read_outcome(reply, settings)


def question(code: str, inputs: dict[str, Any], settings: CodeSettings) -> bytes:
    """Write what a process is asked."""
    asked = {
        "code": code,
        "inputs": inputs,
        "seconds": settings.seconds,
        "memory_bytes": settings.memory_mb * _MEGABYTE,
        "printed_characters": settings.printed_characters,
        "result_bytes": settings.result_bytes,
    }
    return json.dumps(asked).encode()


def answer_bytes(settings: CodeSettings) -> int:
    """Say how long an answer can be: JSON writes a character with up to 12 bytes."""
    return 12 * (settings.result_bytes + settings.printed_characters) + 100_000


def read_outcome(reply: Reply, settings: CodeSettings) -> Outcome:
    """Read what a process has answered, or why it has not."""
    if reply.too_long:
        return Outcome(error="it gave more than the limits allow", kind="MemoryError")
    if reply.status in {None, -signal.SIGXCPU}:
        return Outcome(
            error=f"it was killed: it took much longer than its limit of {settings.seconds:g} s "
            "(STARLINGS_CODE_SECONDS)",
            kind="TimeoutError",
        )
    try:
        return Outcome.model_validate_json(reply.stdout)
    except ValidationError:
        said = reply.stderr.strip().splitlines()[-1:] or ["no word"]
        return Outcome(
            error=f"it was ended by the limits of its process (exit code {reply.status}, "
            f"{said[0]:.200})",
            kind="MemoryError",
        )
