"""What is told of what a run has used, and of how much it may use."""

from __future__ import annotations

from support.runs import Story, ok

from starlings.cli.words import used_text
from starlings.client import RunView
from starlings.messages import Budget, Usage


def told(*usages: Usage, **options: object) -> str:
    story = Story(*[f"s{n}" for n in range(len(usages))], **options)
    story.tell(*(ok(f"s{n}", usage=usage) for n, usage in enumerate(usages)), at_s=2)
    view = RunView("r")
    view.run = story.run
    return used_text(view)


def test_without_a_budget_it_is_told_what_was_used():
    assert told(Usage(input_tokens=5), Usage()) == "1 model call, 20 tokens"
    assert told(Usage(calls=1, cost_usd=0.25)) == "2 model calls, 15 tokens, $0.25"


def test_with_a_budget_it_is_told_of_how_much():
    budget = Budget(tokens=1_000, cost_usd=2, wall_time_s=60)
    said = told(Usage(output_tokens=1_200), on_failure="continue", budget=budget)
    assert said == "1 model call, 1,215 of 1,000 tokens, $0 of $2, 2 of 60 s"


def test_of_a_run_that_is_not_planned_nothing_is_told():
    assert used_text(RunView("r")) == ""
