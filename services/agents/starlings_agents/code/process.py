"""One process that answers one JSON object by another, within limits of time and size.

Whatever becomes of it, it and all that it started are dead when `ask_process` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

STDERR_BYTES = 4_000
_CHUNK = 65_536


@dataclass(frozen=True)
class Reply:
    """What a process has said; `status` is None where it had to be killed."""

    stdout: bytes
    stderr: str
    status: int | None
    too_long: bool = False


async def ask_process(
    command: Sequence[str],
    question: bytes,
    *,
    env: Mapping[str, str],
    within_s: float,
    most_bytes: int,
) -> Reply:
    """Start a process, hand it its question, and read what it says.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd="/",
        start_new_session=True,
    )
    status: int | None = None
    said, complained = _Kept(most_bytes), _Kept(STDERR_BYTES)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await _talk(process, question, said, complained)
                status = await process.wait()
    finally:
        await _end(process)
    return Reply(
        bytes(said.data), complained.data.decode(errors="replace"), status, too_long=said.cut
    )


class _Kept:
    """The beginning of what a process says."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.data = bytearray()
        self.cut = False

    def add(self, chunk: bytes) -> None:
        self.cut |= len(self.data) + len(chunk) > self._most
        self.data += chunk[: max(self._most - len(self.data), 0)]


async def _talk(
    process: asyncio.subprocess.Process, question: bytes, said: _Kept, complained: _Kept
) -> None:
    """Exchange question and answer; who says too much is killed, and read to the end."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("all three are pipes")
    await asyncio.gather(
        _write(process.stdin, question),
        _read(process.stdout, said, lambda: _kill(process)),
        _read(process.stderr, complained, lambda: None),
    )


async def _write(stream: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
        stream.close()


async def _read(stream: asyncio.StreamReader, into: _Kept, on_too_long: Callable[[], None]) -> None:
    while chunk := await stream.read(_CHUNK):
        into.add(chunk)
        if into.cut:
            on_too_long()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the group may outlive its leader


async def _end(process: asyncio.subprocess.Process) -> None:
    _kill(process)
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()  # the end is not told before pipes are closed that nobody reads on
    await asyncio.shield(process.wait())
