"""What `--json` prints: one document per kind of thing, the same for every command."""

from __future__ import annotations

from typing import Any

from starlings.agents.cooldown import Cooldown
from starlings.choreography import ChainEvent, Run, StepState
from starlings.choreography.budget import spendings
from starlings.client import RunSummary, RunView
from starlings.kafka.codec import Received
from starlings.messages import AgentAlive, AgentDefined, RunDone, Usage

from .spending import until_ms
from .times import iso


def run_document(view: RunView) -> dict[str, Any]:
    """Everything that is known of a run."""
    run, done, first, last = view.run, view.done, view.first, view.last
    document: dict[str, Any] = {
        "run_id": view.run_id,
        "status": view.status,
        "request": run.request if run else "",
        "tags": run.tags if run else {},
        "generation": run.generation if run else 0,
        "forked_from": _fork(view),
        "began": iso(run.began_ms) if run else None,
        "ended": iso(last.timestamp_ms) if done and last else None,
        "duration_s": done.duration_s if done else None,
        "model": view.plan.model if view.plan else None,
        "prompt": view.plan.prompt if view.plan else None,
        "planning": _usage(view.plan.usage) if view.plan else None,
        "usage": _usage(run.used()) if run else None,
        "budget": _budget(view),
        "steps": [step_document(view, step) for step in run.order] if run else [],
    }
    if view.chain.events:
        document["events"] = [event_document(event) for _, event in view.chain.walk()]
    if done is not None:
        document |= end_of(done)
    if first is not None and last is not None:
        place = {"topic": first.origin.topic, "partition": first.origin.partition}
        offsets = {"first_offset": first.origin.offset, "last_offset": last.origin.offset}
        document["place"] = {**place, **offsets, "facts": view.facts}
        if view.since is not None:
            document["place"]["told_by_snapshot_up_to"] = view.since - 1
    return document


def step_document(view: RunView, step: StepState) -> dict[str, Any]:
    """One step of a run as it stands."""
    trace = view.traces.get(step.spec.id)
    return {
        **step.spec.model_dump(mode="json", exclude_none=True),
        "state": step.phase.value,
        "attempts": step.attempt,
        "inherited": step.inherited,
        "summary": step.summary,
        "output": step.output,
        "error": step.error.model_dump(mode="json") if step.error else None,
        "undone": _undone(view.run, step) if view.run else [],
        "variant": step.variant,
        "timeouts": view.run.timeouts(step).model_dump(mode="json") if view.run else None,
        "progress": trace.progress if trace else None,
        "instance": trace.instance if trace else "",
        "usage": _usage(trace.usage) if trace else None,
        "prompts": trace.prompts if trace else [],
        "duration_s": trace.duration_s if trace else None,
    }


def _fork(view: RunView) -> dict[str, Any] | None:
    if view.run is None or view.run.forked_from is None:
        return None
    name, offset = view.run.forked_from
    changed = view.forked.changed if view.forked else []
    return {"run_id": name, "offset": offset, "changed": changed}


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    return usage.model_dump(mode="json") if usage is not None else None


def _budget(view: RunView) -> dict[str, Any] | None:
    if view.run is None or view.run.options.budget is None:
        return None
    told = spendings(view.run, until_ms(view))
    return {each.limit: {"used": each.used, "allowed": each.allowed} for each in told}


def _undone(run: Run, step: StepState) -> list[dict[str, Any]]:
    undos = (run.undos[step.spec.id, attempt] for attempt in step.undos)
    return [
        {
            "attempt": undo.attempt,
            "state": undo.phase.value,
            "tries": undo.number,
            "error": undo.error.model_dump(mode="json") if undo.error else None,
        }
        for undo in undos
    ]


def event_document(event: ChainEvent) -> dict[str, Any]:
    """One event of a chain, and the reactions to it."""
    return {
        "id": event.id,
        "type": event.type,
        "causation_id": event.causation_id,
        "summary": event.summary,
        "reactions": [handled.model_dump(mode="json") for handled in event.reactions.values()],
    }


def end_of(done: RunDone) -> dict[str, Any]:
    """How a run ended, without its steps."""
    data: dict[str, Any] = done.model_dump(mode="json", exclude={"run_id", "steps", "duration_s"})
    return data


def done_document(done: RunDone) -> dict[str, Any]:
    """A run's final result, with all steps."""
    data: dict[str, Any] = done.model_dump(mode="json")
    return data


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """One line of the list of runs."""
    ended = summary.ended_ms
    return {
        "run_id": summary.run_id,
        "status": summary.status,
        "request": summary.request,
        "steps": summary.steps,
        "began": iso(summary.began_ms),
        "ended": iso(ended) if ended is not None else None,
        "text": summary.text,
        "tags": summary.tags,
        "forked_from": summary.forked_from,
    }


def fact_document(received: Received) -> dict[str, Any]:
    """One fact with its place, for a line of `watch --json`."""
    return {
        "at": iso(received.timestamp_ms),
        "partition": received.origin.partition,
        "offset": received.origin.offset,
        "id": received.envelope.id,
        "type": received.message.NAME,
        "fact": received.message.model_dump(mode="json"),
    }


def agent_document(
    definition: AgentDefined, instances: list[AgentAlive], cooldown: Cooldown | None = None
) -> dict[str, Any]:
    """One agent of the registry."""
    waits = cooldown and {"for_s": round(cooldown.remaining_s, 1), "reason": cooldown.reason}
    return {
        **definition.model_dump(mode="json"),
        "alive": bool(instances),
        "cooldown": waits,
        "instances": [instance.model_dump(mode="json") for instance in instances],
    }
