"""Deterministic ids: the same decision always has the same id."""

from __future__ import annotations

import re

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._:-]")


def message_id(run_id: str, name: str) -> str:
    """Id of a message about a whole run, such as `r1/plan_created`."""
    return f"{run_id}/{name}"


def attempt_id(run_id: str, step_id: str, attempt: int, name: str) -> str:
    """Id of a message about one attempt of a step, `r1/s2/1/step_done`."""
    return f"{run_id}/{step_id}/{attempt}/{name}"


def run_id_at(topic: str, partition: int, offset: int) -> str:
    """Run id of a request that brought none: the place where it lies."""
    return f"{_NOT_IN_ID.sub('-', topic)}-{partition}-{offset}"
