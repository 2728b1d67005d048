"""`starlings` as people and scripts use it: a process of its own, beside the services of a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .services import Services

WITHIN_S = 150.0  # a process takes its time on a busy machine


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


class CommandLine:
    """Starts commands, and waits for their end."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def start(
        self,
        *argv: str,
        program: str = "starlings.cli",
        env: Mapping[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", program, *argv),
            env={**self._services.env, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=self._services.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def __call__(
        self,
        *argv: str,
        program: str = "starlings.cli",
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        return await self.end(await self.start(*argv, program=program, env=env))

    @staticmethod
    async def end(process: asyncio.subprocess.Process) -> Ended:
        try:
            async with asyncio.timeout(WITHIN_S):
                stdout, stderr = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert process.returncode is not None
        return Ended(process.returncode, stdout.decode(), stderr.decode())
