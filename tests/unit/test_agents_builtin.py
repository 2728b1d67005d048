"""The built-in agents `math` and `string`: right answers, and clear words where there is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.agents.execute import execute
from starlings.messages import StepDone, StepReady
from starlings_agents.math import agent as math_agent
from starlings_agents.string import agent as string_agent

AGENTS = {agent.name: agent for agent in (math_agent, string_agent)}
E4000 = 10**4000


async def call(agent, tool, **args):
    step = StepReady(run_id="r", step_id="s", attempt=1, agent=agent, tool=tool, args=args)
    done = await execute(AGENTS[agent], StepReady.model_validate_json(step.model_dump_json()))
    return StepDone.model_validate_json(done.model_dump_json())


@pytest.mark.parametrize(
    ("tool", "args", "output"),
    [
        ("add", {"a": 10, "b": "5"}, 15),
        ("add", {"a": 0.1, "b": 0.2}, 0.3),
        ("add", {"a": 2**64, "b": 1}, 18446744073709551617),
        ("subtract", {"a": 5, "b": 7.5}, -2.5),
        ("multiply", {"a": 10, "b": 5}, 50),
        ("multiply", {"a": "1.5", "b": 2}, 3),
        ("divide", {"a": 10, "b": 5}, 2),
        ("divide", {"a": 10, "b": 4}, 2.5),
        ("divide", {"a": 10**30, "b": 10}, 10**29),
        ("modulo", {"a": 17, "b": 5}, 2),
        ("modulo", {"a": -7, "b": 3}, 2),
        ("modulo", {"a": 7.5, "b": 2}, 1.5),
        ("power", {"a": 2, "b": 100}, 2**100),
        ("power", {"a": 2, "b": -2}, 0.25),
        ("power", {"a": 9, "b": 0.5}, 3),
        ("power", {"a": 2, "b": 0.5}, math.sqrt(2)),
        ("power", {"a": 0, "b": 0}, 1),
        ("power", {"a": 0, "b": 0.5}, 0),
        ("power", {"a": 1, "b": 1e300}, 1),
        ("power", {"a": -1, "b": 10**30 + 1}, -1),
        ("power", {"a": 1.0000001, "b": 1_000_000}, pytest.approx(math.e**0.1)),
        ("power", {"a": 10, "b": -5000}, 0.0),
        ("sqrt", {"a": 16}, 4),
        ("sqrt", {"a": 2.25}, 1.5),
        ("sqrt", {"a": 2}, math.sqrt(2)),
        ("sqrt", {"a": 10**400}, 10**200),
        ("sqrt", {"a": 10**400 + 1}, 1e200),
        ("sqrt", {"a": 0}, 0),
        ("factorial", {"n": 5}, 120),
        ("factorial", {"n": 0}, 1),
        ("factorial", {"n": "25"}, 15511210043330985984000000),
        ("factorial", {"n": 1400}, math.factorial(1400)),
        ("absolute", {"a": -3.5}, 3.5),
        ("round", {"a": 2.5}, 3),
        ("round", {"a": -2.5}, -3),
        ("round", {"a": 1.005, "decimals": 2}, 1.01),
        ("floor", {"a": -1.5}, -2),
        ("ceiling", {"a": 1.2}, 2),
        ("sum", {"numbers": [1, "2", 0.5]}, 3.5),
        ("product", {"numbers": [2, 3, 0.5]}, 3),
        ("mean", {"numbers": [1, 2, 4]}, 7 / 3),
        ("median", {"numbers": [3, 1, 2]}, 2),
        ("median", {"numbers": [4, 1, 2, 3]}, 2.5),
        ("minimum", {"numbers": [3, 1.5]}, 1.5),
        ("maximum", {"numbers": [3, 1.5]}, 3),
        ("gcd", {"a": 12, "b": 18}, 6),
        ("lcm", {"a": 4, "b": 6}, 12),
    ],
)
async def test_math_is_right_and_exact_where_the_result_is_whole(tool, args, output):
    done = await call("math", tool, **args)
    assert done.error is None
    assert done.output == output
    if not isinstance(output, float) and type(output).__module__ == "builtins":
        assert isinstance(done.output, int)


@pytest.mark.parametrize(
    ("tool", "args", "code", "words"),
    [
        ("divide", {"a": 1, "b": 0}, "division_by_zero", "b must not be 0"),
        ("modulo", {"a": 1, "b": 0}, "division_by_zero", "b must not be 0"),
        ("power", {"a": 0, "b": -1}, "division_by_zero", "0 to a negative power"),
        ("power", {"a": -8, "b": 0.5}, "arguments_invalid", "no real power"),
        ("power", {"a": 2, "b": 10**9}, "result_too_large", "far more than a million digits"),
        ("power", {"a": 10, "b": 5000}, "result_too_large", "about 5,"),
        ("power", {"a": 7, "b": "1e3000"}, "result_too_large", "the limit is 4,000"),
        ("power", {"a": 1.5, "b": 10**6}, "result_too_large", "too large for a decimal"),
        ("sqrt", {"a": -1}, "arguments_invalid", "no real square root"),
        ("sqrt", {"a": 10**3999}, "result_too_large", "too large for a decimal"),
        ("factorial", {"n": 10**9}, "result_too_large", "far more than a million digits"),
        ("factorial", {"n": 1500}, "result_too_large", "the limit is 4,000"),
        ("factorial", {"n": -1}, "arguments_invalid", "greater than or equal to 0"),
        ("factorial", {"n": 2.5}, "arguments_invalid", "a whole number"),
        ("multiply", {"a": 10**3000, "b": 10**1000}, "result_too_large", "about 4,001 digits"),
        ("product", {"numbers": [10] * 9000}, "result_too_large", "the limit is 4,000"),
        ("lcm", {"a": 10**3000 + 1, "b": 10**3000}, "result_too_large", "the limit is 4,000"),
        ("divide", {"a": 10**400, "b": 3}, "result_too_large", "too large for a decimal"),
        ("add", {"a": "1e999999999", "b": 1}, "arguments_invalid", "more than 4,000 digits"),
        ("add", {"a": "1e-999999999", "b": 1}, "arguments_invalid", "more than 4,000 digits"),
        ("add", {"a": "9" * 9000, "b": 1}, "arguments_invalid", "more than 4,000 digits"),
        ("add", {"a": "nan", "b": "Infinity"}, "arguments_invalid", "a finite number"),
        ("add", {"a": "__import__('os')", "b": True}, "arguments_invalid", "written like 12"),
        ("add", {"a": [1], "b": {}}, "arguments_invalid", "it has to be a number"),
        ("mean", {"numbers": []}, "arguments_invalid", "at least 1 item"),
    ],
)
async def test_math_refuses_with_clear_words_and_in_no_time(tool, args, code, words):
    done = await call("math", tool, **args)
    assert done.error.code == code
    assert words in done.error.message
    assert not done.error.retryable


@given(a=st.integers(-E4000 // 10, E4000 // 10), b=st.integers(-E4000 // 10, E4000 // 10))
async def test_sums_of_whole_numbers_of_any_size_are_exact_on_the_wire(a, b):
    assert (await call("math", "add", a=a, b=b)).output == a + b


@given(number=st.floats(allow_nan=False, allow_infinity=False))
async def test_a_decimal_comes_back_as_it_was_written(number):
    output = (await call("math", "add", a=number, b=0)).output
    assert float(output) == number


@pytest.mark.parametrize(
    ("tool", "args", "output"),
    [
        ("count_words", {"text": "Hello World"}, 2),
        ("count_words", {"text": " \n"}, 0),
        ("count_words", {"text": 50}, 1),
        ("count_letters", {"text": "Hello, World 2!"}, 10),
        ("count_characters", {"text": "a b!"}, 4),
        ("count_vowels", {"text": "Éclair au lait"}, 7),
        ("count_lines", {"text": "a\nb\n"}, 2),
        ("count_occurrences", {"text": "banana", "part": "an"}, 2),
        ("count_occurrences", {"text": "Aa", "part": "a", "ignore_case": True}, 2),
        ("contains", {"text": "Hello", "part": "hell"}, False),
        ("contains", {"text": "Hello", "part": "hell", "ignore_case": True}, True),
        ("reverse", {"text": "abc"}, "cba"),
        ("reverse", {"text": "e\u0301a"}, "ae\u0301"),
        ("reverse", {"text": "a👩\u200d🚀b"}, "b👩\u200d🚀a"),
        ("upper", {"text": "straße"}, "STRASSE"),
        ("lower", {"text": "ÀB"}, "àb"),
        ("title", {"text": "don't STOP o\u2019clock"}, "Don't Stop O\u2019clock"),
        ("capitalize", {"text": "hELLO wORLD"}, "Hello world"),
        ("replace", {"text": "a-b-c", "old": "-", "new": ""}, "abc"),
        ("trim", {"text": "  a b \n"}, "a b"),
        ("concatenate", {"left": "a", "right": 5}, "a5"),
        ("join", {"texts": ["a", 5]}, "a 5"),
        ("join", {"texts": [], "separator": ","}, ""),
        ("split", {"text": "a b  c"}, ["a", "b", "c"]),
        ("split", {"text": "a,b,", "separator": ","}, ["a", "b", ""]),
        ("repeat", {"text": "ab", "count": 3}, "ababab"),
        ("repeat", {"text": "", "count": 10**18}, ""),
        ("is_palindrome", {"text": "A man, a plan, a canal: Panama"}, True),
        ("is_palindrome", {"text": "ab"}, False),
    ],
)
async def test_text_is_counted_and_changed(tool, args, output):
    done = await call("string", tool, **args)
    assert done.error is None
    assert (done.output, type(done.output)) == (output, type(output))


@pytest.mark.parametrize(
    ("tool", "args", "code"),
    [
        ("repeat", {"text": "ab", "count": 10**12}, "result_too_large"),
        ("repeat", {"text": "ab", "count": -1}, "arguments_invalid"),
        ("replace", {"text": "a" * 10_000, "old": "a", "new": "b" * 10_000}, "result_too_large"),
        ("replace", {"text": "a", "old": "", "new": "b"}, "arguments_invalid"),
        ("join", {"texts": ["a"] * 10_000, "separator": "b" * 10_000}, "result_too_large"),
        ("count_words", {"text": ["a"]}, "arguments_invalid"),
    ],
)
async def test_text_that_would_not_fit_is_refused_before_it_is_made(tool, args, code):
    assert (await call("string", tool, **args)).error.code == code
