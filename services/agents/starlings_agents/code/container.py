"""Running a program with CPython in a container: no network, no privileges, nothing to write on.

The container is asked for by the command line of an engine (docker, podman), and killed by its name
when its time is over. No image is pulled: that could take longer than any limit.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlings import StepFailed, TransientError

from .outcome import Outcome
from .process import Reply, ask_process
from .sandbox import answer_bytes, question, read_outcome
from .settings import CodeSettings

UNAVAILABLE = "code_unavailable"
_PROGRAM = Path(__file__).with_name("contained.py")
_START_S = 30.0
_KILL_S = 10.0
_ENGINE_FAILED = 125  # exit code of `docker run` where the engine itself could not
_KILLED = 137
_TIMED_OUT = 124


async def run_in_container(code: str, inputs: dict[str, Any], settings: CodeSettings) -> Outcome:
    """Run a program; `inputs` are its variables.

    Raises:
        StepFailed: `code_unavailable`: there is no engine's command line, or no such image.
        TransientError: `code_unavailable`: the engine does not answer.
    """
    cli = shutil.which(settings.container_cli)
    if cli is None:
        raise StepFailed(
            f"STARLINGS_CODE_BACKEND=container needs {settings.container_cli!r}, and there is no "
            "such program here: install it, name another by STARLINGS_CODE_CONTAINER_CLI, or set "
            "STARLINGS_CODE_BACKEND=sandbox",
            code=UNAVAILABLE,
        )
    name = f"starlings-code-{uuid4().hex}"
    env = _environment()
    try:
        reply = await ask_process(
            [cli, *_arguments(name, settings)],
            question(code, inputs, settings),
            env=env,
            within_s=settings.seconds + _START_S,
            most_bytes=answer_bytes(settings),
        )
    finally:
        # its command line is dead by now, the container may not be; one that has ended is gone
        await ask_process([cli, "kill", name], b"", env=env, within_s=_KILL_S, most_bytes=10_000)
    _check(reply, settings)
    if reply.status == _TIMED_OUT:
        return Outcome(error="the container was killed: it ran for too long", kind="TimeoutError")
    if reply.status == _KILLED:
        return Outcome(error="the container was killed: out of memory", kind="MemoryError")
    return read_outcome(reply, settings)


def _arguments(name: str, settings: CodeSettings) -> list[str]:
    memory = f"{settings.memory_mb + 32}m"  # CPython itself needs some
    return [
        "run", "--rm", "--interactive", "--name", name, "--pull", "never",
        "--network", "none", "--memory", memory, "--memory-swap", memory, "--cpus", "1",
        "--pids-limit", "32", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--user", "65534:65534", "--workdir", "/",
        "--tmpfs", "/tmp:rw,noexec,size=16m,mode=1777",  # noqa: S108 - in the container
        "--log-driver", "none",
        settings.container_image, "python", "-I", "-c", _PROGRAM.read_text(encoding="utf-8"),
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """Give the command line what it needs to find its engine, and nothing else of ours."""
    wanted = ("PATH", "HOME", "XDG_RUNTIME_DIR")
    return {
        name: value
        for name, value in os.environ.items()
        if name in wanted or name.startswith(("DOCKER_", "CONTAINER_"))
    }


def _check(reply: Reply, settings: CodeSettings) -> None:
    if reply.status != _ENGINE_FAILED:
        return
    said = " ".join(reply.stderr.split())[:300]
    if "no such image" in said.lower() or "image not known" in said.lower():
        raise StepFailed(
            f"there is no image {settings.container_image!r} here (STARLINGS_CODE_CONTAINER_IMAGE):"
            f" run `{settings.container_cli} pull {settings.container_image}` first",
            code=UNAVAILABLE,
        )
    raise TransientError(
        f"the container engine cannot run anything now: {said}; check `{settings.container_cli} "
        "info`, or set STARLINGS_CODE_BACKEND=sandbox",
        code=UNAVAILABLE,
    )
