"""From records to facts, where that is not a matter of course.

- A value that lies in the blob store is waited for, with pauses, as long as the store's patience
  lasts. Only its own partition waits: facts of a run are folded in their order.
- What cannot be read goes to the dead letters untouched. That is insisted on: a record is not
  passed over before it lies there.
- Somebody may wait for what cannot be read. Where it was an attempt's result or a run's plan, the
  log is told so in its stead, as a fact: the attempt failed, the plan is rejected.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeGuard

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from starlings.choreography import Ledger
from starlings.kafka.codec import Codec, Received
from starlings.messages import (
    ErrorInfo,
    Message,
    Origin,
    PlanCreated,
    PlanRejected,
    Problem,
    RunForked,
    StarlingsError,
    StepDone,
    StepOutcome,
    TransientError,
    UndecodableMessage,
    header,
)
from starlings.messages.base import ID_PATTERN

log = structlog.get_logger()

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
REMEDY = "mend what published it, then request the run again under a new id"

Bury = Callable[[ConsumerRecord, ErrorInfo], Awaitable[None]]


async def decode_patiently(
    codec: Codec, record: ConsumerRecord, patience_s: float
) -> Received | None:
    """Decode a record; try again while the blob store is away.

    Raises:
        UndecodableMessage: also where the blob store stayed away for longer than the patience.
    """
    loop = asyncio.get_running_loop()
    until, pause_s = loop.time() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            async with asyncio.timeout_at(until):
                return await codec.decode(record)
        except (TransientError, TimeoutError) as error:
            reason = str(error) or f"no answer from the blob store within {patience_s:g} s"
            if loop.time() + pause_s >= until:
                raise UndecodableMessage(reason, code="blob_store") from error
            log.warning("a value cannot be fetched yet, its partition waits", error=reason)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def insist_on_burial(bury: Bury, record: ConsumerRecord, error: ErrorInfo) -> None:
    """Put a record into the dead letters, however often that has to be tried."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await bury(record, error)
        except (StarlingsError, KafkaError, OSError) as failure:
            log.error(  # noqa: TRY400 - the traceback says nothing about it
                "the dead letters take no record, its partition waits",
                origin=str(Origin(record.topic, record.partition, record.offset)),
                error=str(failure) or repr(failure),
            )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def stand_in(ledger: Ledger, record: ConsumerRecord, error: UndecodableMessage) -> Message | None:
    """Build the fact that answers for one that cannot be read; None where nobody waits for it."""
    kind, run_id = header(record.headers, "ce_type"), header(record.headers, "ce_subject")
    if kind == StepDone.CE_TYPE:
        return _failed_attempt(ledger, run_id or "", header(record.headers, "ce_id") or "", error)
    known = (ledger.runs, ledger.ended, ledger.parked)
    begins = kind in (PlanCreated.CE_TYPE, RunForked.CE_TYPE)
    if begins and _is_id(run_id) and not any(run_id in runs for runs in known):
        problem = Problem(code=error.code, message=str(error), remedy=REMEDY)
        return PlanRejected(run_id=run_id, problems=[problem])
    return None


def _is_id(run_id: str | None) -> TypeGuard[str]:
    """Whether a run may be called so; the header of what cannot be read may say anything."""
    return run_id is not None and re.fullmatch(ID_PATTERN, run_id) is not None


def _failed_attempt(
    ledger: Ledger, run_id: str, ident: str, error: UndecodableMessage
) -> StepDone | None:
    step_id, _, attempt = (
        ident.removeprefix(f"{run_id}/").removesuffix(f"/{StepDone.NAME}").rpartition("/")
    )
    run = ledger.runs.get(run_id)
    step = run.steps.get(step_id) if run else None
    if step is None or attempt != str(step.attempt):
        return None
    return StepDone(
        run_id=run_id,
        step_id=step_id,
        attempt=step.attempt,
        agent=step.spec.agent,
        outcome=StepOutcome.ERROR,
        error=ErrorInfo(
            code=error.code,
            message=f"the result cannot be read: {error}",
            retryable=error.code.startswith("blob_"),  # the agent's next try brings a new value
        ),
        instance="coordinator",
    )
