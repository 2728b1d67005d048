"""Deterministic ids: the same decision always has the same id."""

from __future__ import annotations

import re

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._:-]")
_GENERATION = re.compile(r"[0-9]{1,9}")  # anybody may write an id, and `int` takes no endless ones


def message_id(run_id: str, name: str) -> str:
    """Id of a message about a whole run, such as `r1/plan_created`."""
    return f"{run_id}/{name}"


def attempt_id(run_id: str, step_id: str, attempt: int, name: str) -> str:
    """Id of a message about one attempt of a step, `r1/s2/1/step_done`."""
    return f"{run_id}/{step_id}/{attempt}/{name}"


def undo_id(run_id: str, step_id: str, attempt: int, number: int, name: str) -> str:
    """Id of a message about one try to undo an attempt, `r1/s2/1/compensation_done/1`."""
    return f"{run_id}/{step_id}/{attempt}/{name}/{number}"


def replan_id(run_id: str, number: int, name: str) -> str:
    """Id of a message about a run that is planned anew, `r1/plan_amended/2`: which time."""
    return f"{run_id}/{name}/{number}"


def generation_id(run_id: str, name: str, generation: int) -> str:
    """Id of a message about a whole run, that comes once for each time it was (re)opened."""
    return f"{run_id}/{name}" + (f"/{generation}" if generation else "")


def generation_of(ident: str, name: str) -> int:
    """Read the generation out of the id of a message about a whole run."""
    _, _, generation = ident.rpartition(f"/{name}/")
    return int(generation) if _GENERATION.fullmatch(generation) else 0


def run_id_at(topic: str, partition: int, offset: int) -> str:
    """Run id of a request that brought none: the place where it lies."""
    return f"{_NOT_IN_ID.sub('-', topic)}-{partition}-{offset}"


def snapshot_id(run_id: str, plan_offset: int, as_of: int) -> str:
    """Id of a snapshot: which beginning, and up to where."""
    return f"{run_id}/run_snapshot/{plan_offset}/{as_of}"


def timer_id(run_id: str, kind: str, step_id: str | None, attempt: int, due_ms: int) -> str:
    """Id of a timer that fired; the same timer set anew has another due time."""
    where = f"{step_id}/{attempt}/" if step_id else ""
    return f"{run_id}/{where}timer_fired/{kind}/{due_ms}"
