"""`starlings dev` as it is typed: the whole system in one process group, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator

from .services import Services
from .waiting import wait_until

READY_WITHIN_S = 150.0
STOP_WITHIN_S = 60.0


@contextlib.asynccontextmanager
async def dev(services: Services, *argv: str) -> AsyncGenerator[list[str]]:
    """Run `starlings dev` until it is ready; Ctrl-C ends it, and it ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starlings.cli", "dev", *argv),
        env={**services.env, "PYTHONUNBUFFERED": "1"},
        cwd=services.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said: list[str] = []
    reading = asyncio.create_task(_read(process, said))
    try:
        await _ready(process, said)
        yield said
    finally:
        code = await _end(process)
        await reading
    assert code == 0, "\n".join(said[-40:])


async def _end(process: asyncio.subprocess.Process) -> int:
    """Press Ctrl-C, also where the test has failed: killed at once, it would leave its services."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


async def _ready(process: asyncio.subprocess.Process, said: list[str]) -> None:
    async def is_so() -> bool:
        ended = process.returncode is not None
        return ended or any("Ctrl-C stops everything" in line for line in said)

    await wait_until(is_so, timeout_s=READY_WITHIN_S, message="`starlings dev` is ready")
    assert process.returncode is None, "\n".join(said[-40:])


async def _read(process: asyncio.subprocess.Process, said: list[str]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        said.append(line.decode().rstrip())
