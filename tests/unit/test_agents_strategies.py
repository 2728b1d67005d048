"""Which strategies an agent can be given, and what is refused when it is declared."""

from __future__ import annotations

import pytest

from starlings import Agent, Debate, ReAct, Reflection, Strategy
from starlings.agents import ToolPlan
from starlings.messages import ConfigError


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("react", ReAct),
        ("ReAct", ReAct),
        ("tool-plan", ToolPlan),
        ("tool_plan", ToolPlan),
        ("reflection", Reflection),
        ("debate", Debate),
    ],
)
def test_a_strategy_is_chosen_by_its_word(word, kind):
    assert isinstance(Agent("a", description="A", strategy=word).strategy, kind)


def test_a_strategy_without_tools_takes_steps_by_itself():
    agent = Agent("a", description="A", strategy=Reflection(rounds=2))
    assert agent.takes_steps
    assert agent.definition().takes_steps
    assert repr(agent.strategy) == "Reflection"


def test_a_strategy_with_tools_needs_them():
    with pytest.raises(ConfigError, match="agent 'a' can do nothing yet"):
        Agent("a", description="A", strategy="react").definition()


def test_a_strategy_that_calls_no_tools_takes_none():
    agent = Agent("a", description="A", strategy="debate")
    with pytest.raises(ConfigError, match="cannot have tools: its strategy Debate calls none"):
        agent.tool(lambda: 1, name="t", description="T")


def test_a_strategy_and_a_step_function_exclude_each_other():
    agent = Agent("a", description="A", strategy="react")
    with pytest.raises(ConfigError, match="has a strategy, ReAct, and so no step function"):
        agent.step(lambda: 1)


@pytest.mark.parametrize("given", ["reactive", 7, ReAct])
def test_what_is_no_strategy_is_refused_with_those_there_are(given):
    with pytest.raises(ConfigError, match="it is one of tool-plan, react, reflection, debate"):
        Agent("a", description="A", strategy=given)


def test_authors_can_write_a_strategy_of_their_own():
    class Own(Strategy):
        async def run(self, agent, ready, ctx):
            raise NotImplementedError

    assert Agent("a", description="A", strategy=Own()).takes_steps


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ReAct(max_turns=0), r"ReAct\(max_turns=…\) has to be a whole number from 1"),
        (lambda: ReAct(max_calls=1.5), r"ReAct\(max_calls=…\)"),
        (lambda: ReAct(max_repeats=1), r"ReAct\(max_repeats=…\) has to be a whole number from 2"),
        (lambda: ReAct(max_history=9), r"ReAct\(max_history=…\)"),
        (lambda: ReAct(answer=dict), r"ReAct\(answer=…\) has to be a Pydantic model"),
        (lambda: Reflection(rounds=0), r"Reflection\(rounds=…\)"),
        (lambda: Reflection(pass_score=11), r"Reflection\(pass_score=…\) .* from 0 to 10"),
        (lambda: Debate(samples=1), "a Debate has 2 to 20 answers, and this one 1"),
        (lambda: Debate(models=["m"] * 21), "and this one 21"),
        (lambda: Debate(models="gpt"), r"Debate\(models=…\) has to be a list of names"),
        (lambda: Debate(quorum=4), r"Debate\(quorum=…\) has to be a whole number from 1 to 3"),
        (lambda: Debate(decide="dice"), r"Debate\(decide=…\)"),
        (lambda: Debate(temperature=1.0), r"Agent\(model=ModelChoice\(temperature=…\)\)"),
        (lambda: Debate(samples=True), r"Debate\(samples=…\)"),
    ],
)
def test_limits_that_are_none_are_refused_by_name(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


@pytest.mark.parametrize(
    ("debate", "size", "enough"),
    [
        (Debate(), 3, 2),
        (Debate(samples=4), 4, 3),
        (Debate(models=["a"]), 3, 2),
        (Debate(models=["a", "b"]), 2, 2),
        (Debate(models=["a", "b"], samples=2), 4, 3),
        (Debate(samples=5, quorum=1), 5, 1),
    ],
)
def test_a_debate_has_a_size_and_by_default_a_quorum_of_more_than_half(debate, size, enough):
    assert (debate.size, debate.enough) == (size, enough)
