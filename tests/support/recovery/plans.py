"""Random plans and choices for runs, from a seeded source of randomness."""

from __future__ import annotations

from random import Random
from typing import Any

from starlings.messages import (
    HUMAN,
    SIGNAL,
    Amendment,
    Approval,
    ApprovalDefault,
    Budget,
    Compensation,
    Condition,
    FailurePolicy,
    ForEach,
    InheritedResult,
    Message,
    Plan,
    PlanCreated,
    PlanRejected,
    Problem,
    ReplanReady,
    RetryPolicy,
    RunForked,
    RunOptions,
    SignalWait,
    SkippedPolicy,
    Step,
    Timeouts,
)

_POLICIES = [*FailurePolicy, FailurePolicy.COMPENSATE, FailurePolicy.COMPENSATE]


def random_plan(rng: Random) -> Plan:
    """Draw a directed acyclic graph of one to seven steps."""
    count = rng.randint(1, 7)
    names = [f"s{i}" for i in range(count)]
    before = [[other for other in names[:i] if rng.random() < 0.4] for i in range(count)]
    steps = [
        Step(
            id=name,
            task=f"task {name}",
            depends_on=before[i],
            when=random_condition(rng, before[i]),
            on_skipped=rng.choice((None, None, *SkippedPolicy)),
            on_failure=rng.choice((None, None, *_POLICIES)),
            compensate=random_compensation(rng) if rng.random() < 0.25 else None,
            **(random_list(rng) if rng.random() < 0.15 else random_wait(rng)),
            retry=rng.choice((None, None, RetryPolicy(attempts=rng.randint(1, 3), initial_s=0))),
        )
        for i, name in enumerate(names)
    ]
    return Plan(steps=steps)


def random_condition(rng: Random, before: list[str]) -> Condition | None:
    """Draw a condition on an earlier result: on its state, or on what may not be there."""
    if not before or rng.random() < 0.75:
        return None
    name = rng.choice(before)
    if rng.random() < 0.4:
        return Condition(value=f"{{{{steps.{name}.state}}}}", one_of=["done", "failed"])
    return Condition(value=f"{{{{steps.{name}.output.pick}}}}", less_than=500)


def random_list(rng: Random) -> dict[str, Any]:
    """Draw a step that is done for each item of a list."""
    items = [f"item {number}" for number in range(rng.randint(0, 4))]
    return {"agent": "math", "foreach": ForEach(items=items, max_parallel=rng.choice((None, 1, 2)))}


def random_wait(rng: Random) -> dict[str, Any]:
    """Draw who does a step: mostly an agent, at times a person or a signal."""
    limit = rng.choice((None, 15.0))
    kind = rng.random()
    if kind < 0.06:
        default = rng.choice(list(ApprovalDefault))
        approval = Approval(question="Well?", timeout_s=limit, default=default)
        return {"agent": HUMAN, "approval": approval}
    if kind < 0.12:
        default = rng.choice((None, {"late": True}))
        return {"agent": SIGNAL, "signal": SignalWait(name="go", timeout_s=limit, default=default)}
    return {"agent": rng.choice(("math", "string"))}


def random_compensation(rng: Random) -> Compensation:
    """Draw what undoes a step, tried a few times, at times with a limit."""
    return Compensation(
        agent="string",
        input=rng.choice((None, {"undo": 1})),
        retry=RetryPolicy(attempts=rng.randint(1, 3), initial_s=rng.choice((0, 1))),
        timeouts=rng.choice((None, Timeouts(queue_s=4, run_s=2), Timeouts(run_s=2))),
    )


def random_options(rng: Random) -> RunOptions:
    """Draw the choices of a run; half of the runs have timeouts for everything."""
    timeouts = Timeouts(queue_s=4, run_s=6, heartbeat_s=rng.choice((None, 3)))
    return RunOptions(
        routing=rng.choice(({}, {"math": {"canary": 0.5}})),
        max_parallel=rng.choice((None, 1, 2, 3)),
        on_failure=rng.choice(_POLICIES),
        retry=RetryPolicy(attempts=rng.randint(1, 3), initial_s=rng.choice((0, 1, 5))),
        timeouts=timeouts if rng.random() < 0.5 else Timeouts(),
        timeout_s=rng.choice((None, None, None, 30)),
        budget=rng.choice((None, None, None, Budget(tokens=900), Budget(wall_time_s=20))),
        undo_queue_s=rng.choice((None, 4)),
        max_replans=rng.choice((0, 1, 3)),
        replan_timeout_s=rng.choice((5, 20)),
    )


def random_beginning(rng: Random, run_id: str) -> Message:
    """Draw what a run begins with: mostly a plan, at times a rejection, nonsense or a fork."""
    kind = rng.random()
    if kind < 0.05:
        problem = Problem(code="cannot", message="no", remedy="ask otherwise")
        return PlanRejected(run_id=run_id, problems=[problem])
    if kind < 0.1:
        circle = Plan(steps=[Step(id="a", agent="math", task="x", depends_on=["a"])])
        return PlanCreated(run_id=run_id, plan=circle)
    if kind < 0.2:
        return random_fork(rng, run_id)
    return PlanCreated(run_id=run_id, plan=random_plan(rng), options=random_options(rng))


def random_fork(rng: Random, run_id: str) -> RunForked:
    """Draw a run that begins on results of another one: of steps, and of items of lists."""
    plan = random_plan(rng)
    whole: set[str] = set()
    inherited = []
    for step in plan.steps:
        if not whole.issuperset(step.depends_on) or rng.random() < 0.4:
            continue
        if step.foreach is not None and rng.random() < 0.7:
            items = step.foreach.items if isinstance(step.foreach.items, list) else []
            names = [f"{step.id}[{n}]" for n in range(len(items) + 1) if rng.random() < 0.5]
        else:
            names = [step.id]
            whole.add(step.id)
        skipped = step.when is not None and rng.random() < 0.5
        output = None if skipped else {"pick": rng.randrange(1_000)}
        inherited += [InheritedResult(step_id=n, output=output, skipped=skipped) for n in names]
    return RunForked(
        run_id=run_id,
        from_run="original",
        from_offset=1,
        plan=plan,
        options=random_options(rng),
        inherited=inherited,
    )


def another_plan(rng: Random, ready: ReplanReady) -> Amendment:
    """Draw an amendment that touches what has been done, what has failed, and what has not begun.

    It need not make sense.
    """
    names = [step.id for step in ready.plan.steps]
    by_name = {step.id: step for step in ready.plan.steps}
    wanted = [ready.step_id] if ready.step_id in by_name and rng.random() < 0.8 else []
    wanted += [name for name in names if rng.random() < 0.15]
    add, replace, remove, invalidate = [], [], [], []
    for name in dict.fromkeys(wanted):
        kind = rng.random()
        if kind < 0.45:
            retold = by_name[name].model_copy(update={"task": f"otherwise {ready.number}"})
            replace.append(retold)
        elif kind < 0.6:
            remove.append(name)
        else:
            invalidate.append(name)
    if rng.random() < 0.3:
        after = [rng.choice(names)] if names else []
        add.append(Step(id=f"n{ready.number}", agent="math", task="new", depends_on=after))
    return Amendment(add=add, replace=replace, remove=remove, invalidate=invalidate)
