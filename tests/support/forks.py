"""Runs that begin on results of another one."""

from __future__ import annotations

from typing import Any

from starlings.messages import FailurePolicy, InheritedResult, Plan, RunForked, RunOptions, Step

from .runs import steps_of


def forked(*specs: str | Step, inherited: dict[str, Any], **options: Any) -> RunForked:
    """Fork a run `r` of `o`: outputs by step, or whole results."""
    options.setdefault("on_failure", FailurePolicy.STOP)
    results = [
        value if isinstance(value, InheritedResult) else InheritedResult(step_id=name, output=value)
        for name, value in inherited.items()
    ]
    return RunForked(
        run_id="r",
        from_run="o",
        from_offset=41,
        request="please",
        plan=Plan.model_construct(
            steps=[s if isinstance(s, Step) else steps_of(s)[0] for s in specs]
        ),
        options=RunOptions(**options),
        tags={"who": "me"},
        inherited=results,
        changed=["model=large"],
    )
