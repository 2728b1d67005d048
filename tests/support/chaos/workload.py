"""What is asked for while things break: plans of several shapes, and what must come of each.

Everything follows from the seed and the run's number. What must come of a run is computed here from
its plan alone, by rules that are written down a second time, without the core.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlings.messages import FailurePolicy, RetryPolicy, RunOutcome, RunRequested

from .agent import digest

AGENTS = ("north", "south")
RETRY = RetryPolicy(attempts=4, initial_s=0.1, max_s=0.5)
Steps = list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A request, and what must come of it."""

    request: RunRequested
    outcome: RunOutcome
    outputs: dict[str, str] = field(default_factory=dict)  # of the steps that must succeed
    turns_round: bool = False  # so that some steps may never have been begun
    cancelled: bool = False  # later on: it may have ended before

    @property
    def run_id(self) -> str:
        """The run."""
        return self.request.run_id or ""

    def is_undone(self, outcome: RunOutcome) -> bool:
        """Whether nothing of it may be left, after this outcome."""
        undoes = self.request.on_failure is FailurePolicy.COMPENSATE
        turned = outcome is RunOutcome.CANCELLED or self.outcome is RunOutcome.COMPENSATED
        return undoes and turned

    @property
    def steps(self) -> Steps:
        """The plan's steps, as they were asked for."""
        return list(self.request.plan["steps"])


def run(rng: random.Random, run_id: str) -> Asked:
    """Ask for a run of a shape that chance decides."""
    return rng.choice(SHAPES)(rng, run_id)


def probe(run_id: str) -> Asked:
    """Ask for a run that takes no time: what it takes is what the system takes."""
    steps = [_step(f"p{n}", agent=AGENTS[n % 2]) for n in range(4)]
    return _asked(run_id, steps)


def crowd(run_id: str, *, width: int, pause_s: float) -> Asked:
    """Ask for many long steps side by side."""
    return _asked(run_id, [_step(f"w{n}", agent="north", pause_s=pause_s) for n in range(width)])


def undone(run_id: str, steps: Steps) -> Asked:
    """Ask for a run of which nothing may be left where a step fails, or where it is cancelled."""
    return _asked(run_id, steps, FailurePolicy.COMPENSATE)


def _chain(rng: random.Random, run_id: str) -> Asked:
    return undone(run_id, _line(rng, 6))


def _diamond(rng: random.Random, run_id: str) -> Asked:
    middle = [_step(f"m{n}", "first", rng=rng) for n in range(4)]
    last = _step("last", *(step["id"] for step in middle), rng=rng)
    return undone(run_id, [_step("first", rng=rng), *middle, last])


def _mesh(rng: random.Random, run_id: str) -> Asked:
    steps: Steps = []
    for n in range(10):
        known = [step["id"] for step in steps]
        steps.append(
            _step(f"s{n}", *rng.sample(known, min(len(known), rng.randint(0, 3))), rng=rng)
        )
    return _asked(run_id, steps)


def _stumbling(rng: random.Random, run_id: str) -> Asked:
    steps = _line(rng, 4)
    for step in rng.sample(steps, 2):
        step["input"]["stumbles"] = rng.randint(1, 3)
    return _asked(run_id, steps)


def _skipping(rng: random.Random, run_id: str) -> Asked:
    steps = [*_line(rng, 4), _step("beside", rng=rng)]
    steps[rng.randint(1, 3)]["input"]["fails"] = True
    return _asked(run_id, steps, FailurePolicy.SKIP_DEPENDENTS)


def _going_on(rng: random.Random, run_id: str) -> Asked:
    steps = _line(rng, 4)
    steps[rng.randint(0, 2)]["input"]["fails"] = True
    return _asked(run_id, steps, FailurePolicy.CONTINUE)


def _stopping(rng: random.Random, run_id: str) -> Asked:
    steps = _line(rng, 4)
    steps[rng.randint(1, 3)]["input"]["fails"] = True
    return _asked(run_id, steps, FailurePolicy.STOP)


def _saga(rng: random.Random, run_id: str) -> Asked:
    """Fail at the end of a mesh, so that all of it is undone."""
    steps = _mesh(rng, run_id).steps
    leaves = {step["id"] for step in steps} - {n for step in steps for n in step["depends_on"]}
    last = _step("last", *sorted(leaves), rng=rng)
    last["input"]["fails"] = True
    return undone(run_id, [*steps, last])


def _broken_saga(rng: random.Random, run_id: str) -> Asked:
    """Fail in the middle, while steps beside it are at work."""
    steps = _mesh(rng, run_id).steps
    failing = rng.choice(steps[1:])
    failing["input"]["fails"] = True
    failing["depends_on"] = failing["depends_on"] or [steps[0]["id"]]  # something is to be undone
    return undone(run_id, steps)


Shape: TypeAlias = Callable[[random.Random, str], Asked]
SAGAS: tuple[Shape, ...] = (_saga, _broken_saga)
SHAPES: tuple[Shape, ...] = (
    _chain,
    _diamond,
    _mesh,
    _stumbling,
    _skipping,
    _going_on,
    _stopping,
    *SAGAS,
)


def _line(rng: random.Random, length: int) -> Steps:
    names = [f"s{n}" for n in range(length)]
    return [_step(name, *names[n - 1 : n][: n > 0], rng=rng) for n, name in enumerate(names)]


def _step(
    name: str,
    *depends_on: str,
    rng: random.Random | None = None,
    agent: str | None = None,
    pause_s: float = 0.0,
) -> dict[str, Any]:
    if rng is not None:
        agent, pause_s = rng.choice(AGENTS), round(rng.uniform(0.0, 0.4), 3)
    told = {"pause_s": pause_s}
    return {"id": name, "agent": agent, "input": told, "depends_on": list(depends_on)}


def _asked(run_id: str, steps: Steps, on_failure: FailurePolicy = FailurePolicy.STOP) -> Asked:
    request = RunRequested(run_id=run_id, plan={"steps": steps}, on_failure=on_failure, retry=RETRY)
    outputs, failed = _foretell(steps, on_failure)
    turns_round = on_failure in (FailurePolicy.STOP, FailurePolicy.COMPENSATE) and bool(failed)
    if not failed:
        outcome = RunOutcome.COMPLETED
    elif on_failure is FailurePolicy.COMPENSATE:
        outcome = RunOutcome.COMPENSATED
    elif on_failure is FailurePolicy.STOP or not outputs:
        outcome = RunOutcome.FAILED
    else:
        outcome = RunOutcome.PARTIAL
    return Asked(request, outcome, outputs, turns_round)


def _foretell(steps: Steps, on_failure: FailurePolicy) -> tuple[dict[str, str], set[str]]:
    """Say what each step must return, and which cannot succeed; steps stand in their order."""
    outputs: dict[str, str] = {}
    failed: set[str] = set()
    for step in steps:
        without = failed & set(step["depends_on"])
        if step["input"].get("fails") or (without and on_failure is not FailurePolicy.CONTINUE):
            failed.add(step["id"])
            continue
        results = {name: outputs[name] for name in step["depends_on"] if name in outputs}
        outputs[step["id"]] = digest(step["id"], results, without)
    return outputs, failed
