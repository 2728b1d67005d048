"""What is told of what a run has used, and of how much it may use."""

from __future__ import annotations

import sys

from rich.console import Console
from support.forks import forked
from support.runs import BEGIN_MS, Story, failed, ok, step

from starlings.cli.documents import run_document
from starlings.cli.run_page import print_run
from starlings.cli.spending import used_text
from starlings.client import RunView
from starlings.kafka.codec import Received
from starlings.messages import (
    Budget,
    Envelope,
    Message,
    Origin,
    Plan,
    PlanCreated,
    RetryPolicy,
    RunOptions,
    TimerFired,
    Usage,
)


def told(*usages: Usage, **options: object) -> str:
    story = Story(*[f"s{n}" for n in range(len(usages))], **options)
    story.tell(*(ok(f"s{n}", usage=usage) for n, usage in enumerate(usages)), at_s=2)
    view = RunView("r")
    view.run = story.run
    return used_text(view)


def test_without_a_budget_it_is_told_what_was_used():
    assert told(Usage(input_tokens=5), Usage()) == "1 model call, 20 tokens"
    assert told(Usage(calls=1, cost_usd=0.25)) == "2 model calls, 15 tokens, $0.25"


def test_calls_without_a_known_price_are_told_beside_the_cost():
    unknown = Usage(calls=2, unpriced_calls=2)
    assert told(unknown) == "3 model calls, 15 tokens, 2 calls without a known price"
    one = told(Usage(calls=2, unpriced_calls=1, cost_usd=0.5))
    assert one == "3 model calls, 15 tokens, $0.5 and 1 call without a known price"
    of_budget = told(unknown, budget=Budget(cost_usd=2))
    assert of_budget.endswith("15 tokens, $0 of $2 and 2 calls without a known price")


def test_with_a_budget_it_is_told_of_how_much():
    budget = Budget(tokens=1_000, cost_usd=2, wall_time_s=60)
    said = told(Usage(output_tokens=1_200), on_failure="continue", budget=budget)
    assert said == "1 model call, 1,215 of 1,000 tokens, $0 of $2, 2 of 60 s"


def tell(view: RunView, *facts: Message) -> None:
    for fact in facts:
        envelope = Envelope(f"r/{view.facts}", fact.CE_TYPE, "test", "r", BEGIN_MS)
        place = Origin("events", 0, view.facts)
        view.add(Received(place, BEGIN_MS, b"r", envelope, fact))


def test_a_page_and_a_document_tell_who_asked_which_model_with_what(capsys):
    view = RunView("r")
    first = Usage(model="small", calls=2, input_tokens=900, output_tokens=100, cost_usd=0.002)
    again = Usage(model="large", calls=1, input_tokens=50, unpriced_calls=1)
    plan = PlanCreated(
        run_id="r",
        plan=Plan(steps=[step("a"), step("b", "a"), step("c", "a")]),
        options=RunOptions(budget=Budget(tokens=9_000), retry=RetryPolicy(attempts=2)),
        model="planner-model",
        usage=Usage(model="planner-model", calls=1, input_tokens=10),
        prompt="planner/1:0a1b",
    )
    lost = failed("a", retryable=True).model_copy(update={"usage": first})
    well = ok("a", attempt=2, usage=again, prompts=["writer/3:c2d4"])
    tell(view, plan, lost, lost)
    key, due_ms = next(iter(view.run.timers.items()))
    due = TimerFired(run_id="r", kind=key.kind, step_id="a", attempt=1, due_ms=due_ms)
    tell(view, due, well, well, ok("b"))
    document = run_document(view)
    assert document["prompt"] == "planner/1:0a1b"
    assert document["planning"]["input_tokens"] == 10
    assert document["budget"] == {"tokens": {"used": 1_060, "allowed": 9_000}}
    assert (document["usage"]["calls"], document["usage"]["unpriced_calls"]) == (4, 1)
    a, b, c = document["steps"]
    assert (a["usage"]["calls"], a["usage"]["cost_usd"], a["usage"]["model"]) == (3, 0.002, "large")
    assert (a["prompts"], b["usage"], c["prompts"]) == (["writer/3:c2d4"], None, [])
    print_run(Console(width=120, file=sys.stdout), view)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert (
        "Used 4 model calls, $0.002 and 1 call without a known price, 1,060 of 9,000 tokens"
        in lines
    )
    assert "(the plan) 1 10 planner-model, planner/1:0a1b" in lines
    assert "a 3 1,050 $0.002 and 1 call without a known price large, writer/3:c2d4" in lines


def test_of_a_run_that_is_not_planned_nothing_is_told():
    assert used_text(RunView("r")) == ""


def test_a_page_and_a_document_of_a_fork_tell_where_it_comes_from_and_what_it_inherited(capsys):
    view = RunView("r")
    tell(view, forked("a", "b<a", inherited={"a": "said before"}))
    document = run_document(view)
    assert document["forked_from"] == {"run_id": "o", "offset": 41, "changed": ["model=large"]}
    assert [(s["id"], s["inherited"]) for s in document["steps"]] == [("a", True), ("b", False)]
    print_run(Console(width=80, file=sys.stdout), view)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Forked from o, as of offset 41: model=large" in lines
    assert "✓ a math said before inherited" in lines
