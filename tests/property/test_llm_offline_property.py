"""What the offline planner says to an agent, the offline agent understands as the same thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.llm.offline.calls import make_calls
from starlings.llm.offline.expressions import NotUnderstood, Number, Operation, Reference, Text
from starlings.llm.offline.grammar import parse
from starlings.llm.offline.operations import NUMERIC_ROLES, OPERATIONS, Area
from starlings.llm.offline.wording import say
from starlings.llm.prompts import TaskMessage, ToolLine

ROWS = [{"step": f"s{n}", "agent": "math", "summary": str(n * 11)} for n in (1, 2)]
NUMBERS = st.integers(-(10**30), 10**30).map(str) | st.decimals(
    -1000, 1000, places=2, allow_nan=False
).map(lambda number: f"{number:f}")
LETTERS = "abzAZ09 \t'\"`“”«».,;:!?()<>{}[]\\/|%^+-*=éßñ→…漢🐦"
TEXTS = st.text(LETTERS, min_size=1, max_size=30).filter(lambda text: text != "previous")
REFERENCES = st.sampled_from([Reference("step:s1"), Reference("step:s2")])


def literal(role):
    if role in NUMERIC_ROLES:
        return st.builds(Number, NUMBERS) | REFERENCES
    return st.builds(Text, TEXTS) | (st.nothing() if role == "place" else REFERENCES)


def operations(areas, nested=0):
    names = sorted(name for name, known in OPERATIONS.items() if known.area in areas)
    return st.sampled_from(names).flatmap(lambda name: operation(name, nested))


@st.composite
def operation(draw, name, nested=0):
    roles = OPERATIONS[name].roles
    operands = [draw(literal(role)) for role in roles]
    if nested and OPERATIONS[name].area is Area.MATH:
        place = draw(st.integers(0, len(roles) - 1))
        operands[place] = draw(operations({Area.MATH}, nested - 1))
    return Operation(name, tuple(operands))


def tools():
    for known in OPERATIONS.values():
        yield ToolLine(known.tools[0], known.roles)


def expected_calls(wanted):
    """Say which calls an operation needs, without the grammar."""
    made = []
    args = {}
    for role, operand in zip(OPERATIONS[wanted.name].roles, wanted.operands, strict=True):
        if isinstance(operand, Operation):
            made += expected_calls(operand)
            args[role] = "previous"
        elif isinstance(operand, Reference):
            summary = next(r["summary"] for r in ROWS if r["step"] == operand.what[5:])
            args[role] = int(summary) if role in NUMERIC_ROLES else summary
        else:
            args[role] = operand.value
    return [*made, (OPERATIONS[wanted.name].tools[0], args)]


@pytest.mark.parametrize("known", OPERATIONS.values(), ids=lambda known: known.name)
def test_the_first_command_of_an_operation_is_plain_words_with_every_operand(known):
    assert not set("[]|") & set(known.commands[0])
    assert all(f"{{{role}" in known.commands[0] for role in known.roles)


@given(operations(set(Area), nested=3))
def test_an_operation_that_was_put_into_words_becomes_the_calls_that_it_needs(wanted):
    task = say(wanted)
    made = make_calls(TaskMessage(task=task, results=ROWS), list(tools()))
    assert [(call["tool"], call["args"]) for call in made] == expected_calls(wanted), task


def understood(text):
    """Parse a text; None where it is honestly not understood."""
    try:
        return parse(text)
    except NotUnderstood as error:
        return None if str(error) else pytest.fail("it does not say what is not understood")


@given(st.text(max_size=200))
def test_any_text_is_understood_or_honestly_not(text):
    for clause in understood(text) or []:
        assert isinstance(clause.value, Operation)


WORDS = (
    "add|2|3|and|multiply|the result|by|'a b'|,|then|sum of|square root|(|)|+|-|!|it|them|words in|"
    "count|factorial|to the power of|weather in|Paris|London|reverse|%|5|minus|plus|replace|with"
)


@given(st.lists(st.sampled_from(WORDS.split("|")), max_size=25).map(" ".join))
def test_any_jumble_of_known_words_is_understood_or_honestly_not(text):
    for clause in understood(text) or []:
        assert isinstance(clause.value, Operation)
