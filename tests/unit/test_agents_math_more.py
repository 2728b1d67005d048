"""The agent `math` beyond arithmetic: whole numbers, fractions, statistics, time and dates."""

from __future__ import annotations

import math
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agents import ready

from starlings.agents.execute import execute
from starlings.messages import StepDone
from starlings_agents.math import agent

LIMIT_S = 5.0


async def call(tool, **args) -> StepDone:
    done = await execute(agent, ready(agent="math", tool=tool, args=args))
    return StepDone.model_validate_json(done.model_dump_json())


@pytest.mark.parametrize(
    ("tool", "args", "output"),
    [
        ("add", {"a": "1/3", "b": "2/3"}, 1),
        ("multiply", {"a": " 1 / 4 ", "b": 2}, 0.5),
        ("logarithm", {"a": 1000, "base": 10}, 3),
        ("logarithm", {"a": "1/8", "base": 2}, -3),
        ("logarithm", {"a": 10**4000 // 10}, pytest.approx(3999 * math.log(10))),
        ("logarithm", {"a": 1.0000000001}, pytest.approx(1e-10, rel=1e-6)),
        ("divide_whole", {"a": -7, "b": 2}, {"quotient": -4, "remainder": 1}),
        ("power_modulo", {"a": 3, "b": 10**40, "m": 7}, pow(3, 10**40, 7)),
        ("is_prime", {"n": 2**61 - 1}, True),
        ("is_prime", {"n": 3215031751}, False),  # looks prime to the first four witnesses
        ("is_prime", {"n": 1}, False),
        ("is_prime", {"n": 41}, True),
        ("prime_factors", {"n": 360}, [2, 2, 2, 3, 3, 5]),
        ("prime_factors", {"n": 1}, []),
        ("prime_factors", {"n": 999999999989}, [999999999989]),
        ("divisors", {"n": 28}, [1, 2, 4, 7, 14, 28]),
        ("combinations", {"n": 49, "k": 6}, 13983816),
        ("combinations", {"n": 3, "k": 4}, 0),
        ("permutations", {"n": 10, "k": 3}, 720),
        ("permutations", {"n": 2, "k": 3}, 0),
        ("fibonacci", {"n": 0}, 0),
        ("fibonacci", {"n": 90}, 2880067194370816120),
        ("to_base", {"n": -255, "base": 16}, "-ff"),
        ("to_base", {"n": 0, "base": 2}, "0"),
        ("from_base", {"text": "-FF", "base": 16}, -255),
        ("calculate_fraction", {"a": "1/3", "operation": "add", "b": "1/6"}, "1/2"),
        ("calculate_fraction", {"a": "1/3", "operation": "subtract", "b": 1}, "-2/3"),
        ("calculate_fraction", {"a": "1/3", "operation": "multiply", "b": 3}, "1"),
        ("calculate_fraction", {"a": 0.5, "operation": "divide", "b": 3}, "1/6"),
        ("as_fraction", {"a": "6/8"}, "3/4"),
        ("as_fraction", {"a": 3.14159265, "largest_denominator": 1000}, "355/113"),
        ("variance", {"numbers": [1, 2, 3, 4]}, 5 / 3),
        ("variance", {"numbers": [1, 2, 3, 4], "kind": "population"}, 1.25),
        ("standard_deviation", {"numbers": [2, 4, 4, 4, 5, 5, 7, 9], "kind": "population"}, 2),
        ("mode", {"numbers": [3, 1, 3, 1, 2]}, [1, 3]),
        ("quantile", {"numbers": [4, 1, 3, 2], "share": 0.25}, 1.75),
        ("quantile", {"numbers": [7], "share": 1}, 7),
        ("correlation", {"xs": [1, 2, 3], "ys": [6, 4, 2]}, -1),
        ("line", {"xs": [1, 2, 3], "ys": [3, 5, 7]}, {"slope": 2, "intercept": 1}),
        ("percent_of", {"percent": 15, "whole": 80}, 12),
        ("as_percent", {"part": 12, "whole": 80}, 15),
        ("percent_change", {"before": 80, "after": 100}, 25),
        ("percent_change", {"before": -50, "after": -25}, 50),
        ("convert_time", {"amount": 90, "unit": "minutes", "to": "hours"}, 1.5),
        ("convert_time", {"amount": 1, "unit": "weeks", "to": "nanoseconds"}, 604800 * 10**9),
        ("read_duration", {"text": "1h30m"}, 5400),
        ("read_duration", {"text": "2 days, 4 hours and 0.5 s"}, 187200.5),
        ("read_duration", {"text": "01:30:05.25"}, 5405.25),
        ("read_duration", {"text": "100:00"}, 360000),
        ("write_duration", {"seconds": 694861}, "1 week 1 day 1 hour 1 minute 1 second"),
        ("write_duration", {"seconds": -0.5}, "minus 0.5 seconds"),
        ("write_duration", {"seconds": 0}, "0 seconds"),
        ("days_between", {"start": "2028-02-28", "end": "2028-03-01"}, 2),
        (
            "time_between",
            {"start": "2030-01-01T00:00:00Z", "end": "2030-01-01T00:00:00-01:30", "unit": "hours"},
            1.5,
        ),
        (
            "time_between",
            {"start": "2030-01-01T00:00:00.000001", "end": "2030-01-01T00:00:00Z"},
            -1e-06,
        ),
        ("add_to_date", {"start": "2028-01-31", "months": 1}, "2028-02-29"),
        ("add_to_date", {"start": "2028-02-29", "years": -1, "days": 1}, "2027-03-01"),
        ("weekday", {"day": "2000-01-01"}, "Saturday"),
    ],
)
async def test_math_is_right(tool, args, output):
    done = await call(tool, **args)
    assert done.error is None
    assert done.output == output


async def test_a_list_of_numbers_is_described():
    done = await call("describe", numbers=[1, 2, "5/2", 4.5])
    assert done.output == {
        "count": 4,
        "sum": 10,
        "mean": 2.5,
        "minimum": 1,
        "lower_quartile": 1.75,
        "median": 2.25,
        "upper_quartile": 3,
        "maximum": 4.5,
        "standard_deviation": pytest.approx(statistics.stdev([1, 2, 2.5, 4.5])),
    }
    assert (await call("describe", numbers=[1])).output["standard_deviation"] is None


@pytest.mark.parametrize(
    ("tool", "args", "code", "words"),
    [
        ("add", {"a": "1/0", "b": 1}, "arguments_invalid", "the denominator 0"),
        ("add", {"a": "1/2/3", "b": 1}, "arguments_invalid", "written like 12"),
        ("logarithm", {"a": 0}, "arguments_invalid", "above 0"),
        ("logarithm", {"a": 2, "base": 1}, "arguments_invalid", "that is not 1"),
        ("divide_whole", {"a": 1, "b": 0}, "division_by_zero", "b must not be 0"),
        ("power_modulo", {"a": 3, "b": 10**3999, "m": 10**3999}, "result_too_large", "too large"),
        ("is_prime", {"n": 10**100}, "arguments_invalid", "can be tested"),
        ("prime_factors", {"n": 10**13}, "arguments_invalid", "less than or equal"),
        ("combinations", {"n": 10**14, "k": 10**13}, "result_too_large", "digits"),
        ("combinations", {"n": 10**20, "k": 2}, "arguments_invalid", "below 10**15"),
        ("permutations", {"n": 10**14, "k": 10**13}, "result_too_large", "digits"),
        ("fibonacci", {"n": 10**9}, "arguments_invalid", "less than or equal"),
        ("to_base", {"n": 10**3000, "base": 2}, "arguments_invalid", "1,000 digits"),
        ("from_base", {"text": "12", "base": 2}, "arguments_invalid", "no whole number in base 2"),
        ("from_base", {"text": "-", "base": 2}, "arguments_invalid", "no whole number"),
        ("from_base", {"text": "z" * 4000, "base": 36}, "result_too_large", "the limit is 4,000"),
        (
            "calculate_fraction",
            {"a": 1, "operation": "divide", "b": 0},
            "division_by_zero",
            "b must not be 0",
        ),
        (
            "calculate_fraction",
            {"a": "1/" + "3" * 3000, "operation": "multiply", "b": "1/" + "7" * 3000},
            "result_too_large",
            "the limit is 4,000",
        ),
        ("variance", {"numbers": [1]}, "arguments_invalid", "two numbers or more"),
        ("correlation", {"xs": [1], "ys": [1, 2]}, "arguments_invalid", "have 1 and 2"),
        ("correlation", {"xs": [1, 1], "ys": [1, 2]}, "arguments_invalid", "all the same"),
        ("line", {"xs": [1, 1], "ys": [1, 2]}, "arguments_invalid", "the same x"),
        ("quantile", {"numbers": [1], "share": 2}, "arguments_invalid", "less than or equal"),
        ("as_percent", {"part": 1, "whole": 0}, "division_by_zero", "must not be 0"),
        ("percent_change", {"before": 0, "after": 1}, "division_by_zero", "must not be 0"),
        ("read_duration", {"text": "2 months"}, "arguments_invalid", "add_to_date"),
        ("read_duration", {"text": "soon"}, "arguments_invalid", "write it like 1h30m"),
        ("days_between", {"start": "today", "end": "2030-01-01"}, "arguments_invalid", "date"),
        (
            "add_to_date",
            {"start": "9999-12-31", "days": 1},
            "arguments_invalid",
            "the years 1 to 9999",
        ),
        (
            "add_to_date",
            {"start": "2000-01-01", "years": 10**8},
            "arguments_invalid",
            "the years 1 to 9999",
        ),
    ],
)
async def test_math_refuses_with_clear_words(tool, args, code, words):
    done = await call(tool, **args)
    assert done.error.code == code
    assert words in done.error.message
    assert not done.error.retryable


@pytest.mark.parametrize(
    ("tool", "numbers", "code"),
    [
        ("sum", [f"1/{n}" for n in range(10**9, 10**9 + 10_000)], "result_too_large"),
        ("describe", [f"1/{n}" for n in range(10**9, 10**9 + 10_000)], "result_too_large"),
        ("variance", ["1e-3999"] * 10_000, "arguments_invalid"),
    ],
)
async def test_fractions_that_add_up_to_ever_longer_ones_are_given_up_in_time(tool, numbers, code):
    began = time.process_time()
    done = await call(tool, numbers=numbers)
    assert done.error.code == code
    assert time.process_time() - began < LIMIT_S


@given(n=st.integers(1, 10**12))
async def test_the_factors_of_a_number_are_prime_and_make_the_number(n):
    factors = (await call("prime_factors", n=n)).output
    assert math.prod(factors) == n
    assert all([(await call("is_prime", n=factor)).output for factor in factors])


@given(n=st.integers(-(10**900), 10**900), base=st.integers(2, 36))
async def test_what_is_written_in_another_base_is_read_again(n, base):
    written = (await call("to_base", n=n, base=base)).output
    assert (await call("from_base", text=written, base=base)).output == n


@given(seconds=st.integers(-(10**9), 10**9))
async def test_a_duration_that_is_written_is_read_again(seconds):
    written = (await call("write_duration", seconds=seconds)).output
    read = (await call("read_duration", text=written.removeprefix("minus "))).output
    assert read == abs(seconds)
