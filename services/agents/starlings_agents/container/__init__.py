"""The agent `container`: runs an image to completion, on a Docker engine or as a Kubernetes Job.

What is run is named after the attempt, so that a start that is repeated after a crash finds the
first one. Whichever instance looks after the step asks the engine by that name. Secrets are named
by steps and known to the agent (Docker) or the cluster (Kubernetes) only.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from starlings import JobAgent, JobStatus, ResourceExhausted, StepContext, StepFailed
from starlings.service.settings import load_settings

from .docker import Docker
from .kubernetes import Kubernetes
from .settings import ContainerSettings
from .work import Engine, Order, Seen, Started, Work, name_of

_TOLD_OF_LOGS = 2_000

agent = JobAgent[Started](
    "container",
    description="Runs a container image to completion and tells its exit code and the end of its "
    "logs. Input: image, command, args, env, secrets (variable: name of a secret), cpus, memory",
    create_timeout_s=900.0,  # an image may have to be fetched first
    get_timeout_s=60.0,
    delete_timeout_s=60.0,
    longest_poll_s=15.0,
)


@agent.create
async def create(work: Work, ctx: StepContext) -> Started:
    """Start it, or find it started."""
    settings = load_settings(ContainerSettings)
    settings.check_image(work.image)
    cpus, memory = settings.resources(work.cpus, work.memory)
    order = Order(
        name=name_of(ctx.idempotency_key),
        work=work,
        cpus=cpus,
        memory_bytes=memory,
        labels={
            "starlings.run": ctx.run_id,
            "starlings.step": ctx.step_id,
            "starlings.attempt": str(ctx.attempt),
        },
        remaining_s=_remaining_s(ctx),
    )
    engine = _engine(settings.backend, settings)
    try:
        await engine.start(order)
    except asyncio.CancelledError:
        with suppress(Exception):  # the step is stopped, and nobody else will know the name
            await engine.remove(order.name)
        raise
    return Started(
        name=order.name,
        backend=settings.backend,
        image=work.image,
        secrets=sorted(set(work.secrets.values())),
        log_lines=work.log_lines,
    )


@agent.get
async def get(started: Started) -> JobStatus:
    """Look once."""
    settings = load_settings(ContainerSettings)
    seen = await _engine(started.backend, settings).look(started)
    if seen.failed is not None:
        return JobStatus.failed(seen.failed)
    if seen.exit_code is None:
        return JobStatus("running" if seen.running else "pending", progress=seen.waits_for or None)
    if seen.out_of_memory:
        return JobStatus.failed(
            ResourceExhausted(
                f"{started.image} was killed for want of memory (exit code {seen.exit_code}); give "
                f"the step more `memory`, or let it escalate to a variant that has more"
                f"{_end_of(seen)}"
            )
        )
    if seen.exit_code != 0:
        return JobStatus.failed(
            StepFailed(
                f"{started.image} ended with exit code {seen.exit_code}{_end_of(seen)}",
                code="exit_code",
            )
        )
    return JobStatus.succeeded(_output(started, seen), summary=_summary(started, seen))


@agent.delete
async def delete(started: Started) -> None:
    """End it, whether or not it is there."""
    await _engine(started.backend, load_settings(ContainerSettings)).remove(started.name)


def _engine(backend: str, settings: ContainerSettings) -> Engine:
    return Kubernetes(settings) if backend == "kubernetes" else Docker(settings)


def _remaining_s(ctx: StepContext) -> float | None:
    if ctx.deadline is None:
        return None
    return max(1.0, (ctx.deadline - datetime.now(UTC)).total_seconds())


def _end_of(seen: Seen) -> str:
    said = seen.logs.strip()
    return f"; the end of its logs:\n{said[-_TOLD_OF_LOGS:]}" if said else ""


def _output(started: Started, seen: Seen) -> dict[str, Any]:
    return {
        "image": started.image,
        "exit_code": seen.exit_code,
        "logs": seen.logs,
        "logs_cut": seen.logs_cut,
        "started_at": seen.started_at,
        "finished_at": seen.finished_at,
    }


def _summary(started: Started, seen: Seen) -> str:
    lines = seen.logs.strip().splitlines()
    return f"{started.image} ended well" + (f": {lines[-1][:200]}" if lines else "")
