"""Which trace each open run belongs to, and the two things that the coordinator tells of it.

A fact hands its trace on to what follows from it; what follows from none, as of a timer, goes on
with the trace that the run began in. That is kept beside the run, and goes along in snapshots.

The coordinator records no span of a fact or a decision: they are the cheapest part of a run. It
tells of a run when it ends, and of a beginning that came without a trace, as of a retry. Their ids
are derived from those of the messages, so that two coordinators tell of the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlings.choreography import Decision, DecisionKind, Run
from starlings.kafka.codec import Received
from starlings.messages import RunOutcome
from starlings.service import seed_of
from starlings.telemetry import Tracer

from .outbox import Cause

_WELL = frozenset({RunOutcome.COMPLETED, RunOutcome.PARTIAL, RunOutcome.CANCELLED})


class RunTraces:
    """The traces of the open runs of one partition."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, run_id: str) -> str | None:
        """Say which `traceparent` a run began with."""
        return self._of.get(run_id)

    def begin(self, run_id: str, received: Received) -> None:
        """Remember what a run began with, or was opened again with."""
        self._of[run_id] = received.envelope.traceparent or self._tracer.tell(
            received.message.NAME,
            parent=self._of.get(run_id),
            seed=seed_of(received),
            began_ms=received.timestamp_ms,
            ended_ms=received.timestamp_ms,
            attributes={"starlings.run_id": run_id},
        )

    def resume(self, run_id: str, received: Received) -> None:
        """Remember what a snapshot says of the beginning."""
        if received.envelope.traceparent:
            self._of.setdefault(run_id, received.envelope.traceparent)

    def tell_ends(self, run: Run, decisions: Sequence[Decision], cause: Cause) -> None:
        """Tell of a run that ends by these decisions."""
        for decision in decisions:
            if decision.kind is not DecisionKind.END or run.outcome is None:
                continue
            failed = run.error is not None and run.outcome not in _WELL
            self._tracer.tell(
                "run",
                parent=self._of.get(run.run_id) or cause.traceparent,
                seed=decision.id,
                began_ms=run.opened_ms,
                ended_ms=max(run.ended_ms, run.opened_ms),
                attributes={
                    "starlings.run_id": run.run_id,
                    "starlings.outcome": run.outcome.value,
                    "starlings.steps": len(run.order),
                },
                error=(run.error.code, run.error.message) if failed and run.error else None,
            )

    def forget(self, run_id: str) -> None:
        """Let go of a run that has ended."""
        self._of.pop(run_id, None)

    def keep_only(self, run_ids: Collection[str]) -> None:
        """Let go of all others: parked runs, and ends without headers."""
        if len(self._of) > len(run_ids):
            self._of = {run_id: trace for run_id, trace in self._of.items() if run_id in run_ids}
