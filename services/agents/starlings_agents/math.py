"""The agent `math`: exact arithmetic by tools; nothing is ever evaluated as code.

Arithmetic stands here; whole numbers and fractions, statistics, and time have modules of their own.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from starlings import Agent

from . import math_integers, math_statistics, math_time
from .math_statistics import average, give_root
from .numbers import MAX_DIGITS, Number, Numbers, Whole, add_up, digits, give, refuse, too_large

agent = Agent(
    "math",
    description=(
        "Arithmetic with exact whole numbers and fractions: sums, products, powers, roots, "
        "factorials, remainders, divisors, primes, combinations, bases, averages, statistics, "
        "percentages, rounding, units of time, durations, dates"
    ),
)

_HUGE = 10**15
_EXACT_DOUBLES = 2**53


@agent.tool(idempotent=True)
def add(a: Number, b: Number) -> int | float:
    """Adds two numbers."""
    return give(a + b)


@agent.tool(idempotent=True)
def subtract(a: Number, b: Number) -> int | float:
    """Subtracts b from a."""
    return give(a - b)


@agent.tool(idempotent=True)
def multiply(a: Number, b: Number) -> int | float:
    """Multiplies two numbers."""
    return give(a * b)


@agent.tool(idempotent=True)
def divide(a: Number, b: Number) -> int | float:
    """Divides a by b."""
    if b == 0:
        raise refuse("division by zero: b must not be 0", "division_by_zero")
    return give(a / b)


@agent.tool(idempotent=True)
def modulo(a: Number, b: Number) -> int | float:
    """Gives the remainder of a divided by b; it has the sign of b."""
    if b == 0:
        raise refuse("remainder of a division by zero: b must not be 0", "division_by_zero")
    return give(a % b)


@agent.tool(idempotent=True)
def power(a: Number, b: Number) -> int | float:
    """Raises a to the power of b."""
    if a == 0 and b < 0:
        raise refuse("0 to a negative power is a division by zero", "division_by_zero")
    if a < 0 and b.denominator != 1:
        raise refuse("a negative number has no real power with a fraction as exponent")
    if a in {0, 1} or b == 0:
        return 1 if a == 1 or b == 0 else 0
    if a == -1:
        return -1 if b.numerator % 2 else 1
    size = float(abs(b)) * digits(a) if abs(b) < _HUGE else math.inf
    if b.denominator == 1 and size <= MAX_DIGITS:
        return give(a**b.numerator)
    if b.denominator == 1 and b > 0 and a.denominator == 1:
        raise too_large(size)
    return _power_of_floats(a, b)


def _power_of_floats(a: Fraction, b: Fraction) -> int | float:
    try:
        result = math.pow(a, b)
    except OverflowError:
        raise refuse("the result is too large for a decimal number", "result_too_large") from None
    return int(result) if result.is_integer() and 1 <= abs(result) < _EXACT_DOUBLES else result


@agent.tool(idempotent=True)
def sqrt(a: Number) -> int | float:
    """Takes the square root."""
    if a < 0:
        raise refuse("a negative number has no real square root")
    return give_root(a)


@agent.tool(idempotent=True)
def logarithm(a: Number, base: Number | None = None) -> int | float:
    """Takes the logarithm of a number; without a base, the natural one."""
    if a <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise refuse("a logarithm takes a number above 0, and a base above 0 that is not 1")
    natural = _natural_logarithm(a)
    if base is None:
        return natural
    result = natural / _natural_logarithm(base)
    whole = round(result)
    exact = abs(whole) * digits(base) <= MAX_DIGITS and base**whole == a
    return whole if exact else result


def _natural_logarithm(a: Fraction) -> float:
    if abs(a - 1) < Fraction(1, 10):  # where the difference of two logarithms would be all error
        return math.log1p(a - 1)
    return math.log(a.numerator) - math.log(a.denominator)


@agent.tool(idempotent=True)
def factorial(n: Annotated[Whole, Field(ge=0)]) -> int:
    """Takes the factorial of a whole number from 0 on."""
    size = math.lgamma(min(n, 10**12) + 1) / math.log(10)
    if size > MAX_DIGITS:
        raise too_large(size)
    return math.factorial(n)


@agent.tool(idempotent=True)
def absolute(a: Number) -> int | float:
    """Takes the absolute value."""
    return give(abs(a))


@agent.tool(name="round", idempotent=True)
def round_half_up(a: Number, decimals: Annotated[Whole, Field(ge=0, le=100)] = 0) -> int | float:
    """Rounds to so many decimals; halves are rounded away from zero."""
    scaled = abs(a) * 10**decimals + Fraction(1, 2)
    rounded = Fraction(math.floor(scaled), 10**decimals)
    return give(rounded if a >= 0 else -rounded)


@agent.tool(idempotent=True)
def floor(a: Number) -> int:
    """Rounds down to a whole number."""
    return math.floor(a)


@agent.tool(idempotent=True)
def ceiling(a: Number) -> int:
    """Rounds up to a whole number."""
    return math.ceil(a)


@agent.tool(name="sum", idempotent=True)
def total(numbers: Numbers) -> int | float:
    """Adds up a list of numbers."""
    return give(add_up(numbers))


@agent.tool(idempotent=True)
def product(numbers: Numbers) -> int | float:
    """Multiplies a list of numbers."""
    result = Fraction(1)
    for number in numbers:
        result *= number
        if digits(result) > 2 * MAX_DIGITS:
            raise too_large(digits(result))
    return give(result)


@agent.tool(idempotent=True)
def mean(numbers: Numbers) -> int | float:
    """Takes the average of a list of numbers."""
    return give(average(numbers))


@agent.tool(idempotent=True)
def median(numbers: Numbers) -> int | float:
    """Takes the middle one of the numbers in order, or the mean of the middle two."""
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return give((ordered[middle] + ordered[~middle]) / 2)


@agent.tool(idempotent=True)
def minimum(numbers: Numbers) -> int | float:
    """Takes the smallest of a list of numbers."""
    return give(min(numbers))


@agent.tool(idempotent=True)
def maximum(numbers: Numbers) -> int | float:
    """Takes the largest of a list of numbers."""
    return give(max(numbers))


@agent.tool(idempotent=True)
def gcd(a: Whole, b: Whole) -> int:
    """Takes the greatest common divisor of two whole numbers."""
    return math.gcd(a, b)


@agent.tool(idempotent=True)
def lcm(a: Whole, b: Whole) -> int | float:
    """Takes the least common multiple of two whole numbers."""
    return give(Fraction(math.lcm(a, b)))


for _function in (*math_integers.TOOLS, *math_statistics.TOOLS, *math_time.TOOLS):
    agent.tool(idempotent=True)(_function)
