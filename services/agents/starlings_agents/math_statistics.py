"""Statistics and percentages of the `math` agent, computed with exact fractions.

Only a root is rounded: once, at the end, to the nearest double.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from .numbers import Number, Numbers, add_up, give, nearest, refuse

Kind = Literal["sample", "population"]
_FEWEST = 2  # numbers of which a sample has a deviation
_ROOT_BITS = 70  # enough for a double, and then some


def root_of(number: Fraction) -> Fraction:
    """Take a square root: exactly where there is such a fraction, else to 70 bits."""
    square = number.numerator * number.denominator
    bits = max(0, _ROOT_BITS - square.bit_length() // 2)
    return Fraction(math.isqrt(square << 2 * bits), number.denominator << bits)


def give_root(number: Fraction) -> int | float:
    """Return a square root as JSON has it."""
    root = root_of(number)
    return give(root) if root * root == number else nearest(root)


def average(numbers: list[Fraction]) -> Fraction:
    """Take the mean."""
    return add_up(numbers) / len(numbers)


def variance_of(numbers: list[Fraction], kind: Kind) -> Fraction:
    """Take the mean of the squares of what numbers differ from their mean by.

    Raises:
        StepFailed: a sample has one number only.
    """
    if kind == "sample" and len(numbers) < _FEWEST:
        raise refuse("a sample needs two numbers or more; one alone is kind=population")
    middle = average(numbers)
    squares = add_up((number - middle) ** 2 for number in numbers)
    return squares / (len(numbers) - (kind == "sample"))


def variance(numbers: Numbers, kind: Kind = "sample") -> int | float:
    """Takes the variance of a list of numbers, as a sample or as the whole population."""
    return give(variance_of(numbers, kind))


def standard_deviation(numbers: Numbers, kind: Kind = "sample") -> int | float:
    """Takes the standard deviation of a list of numbers, as a sample or the whole population."""
    return give_root(variance_of(numbers, kind))


def mode(numbers: Numbers) -> list[int | float]:
    """Gives the most frequent of the numbers; several where they are equally frequent."""
    counted = Counter(numbers)
    most = max(counted.values())
    return [give(number) for number in sorted(counted) if counted[number] == most]


def quantile(numbers: Numbers, share: Annotated[Number, Field(ge=0, le=1)]) -> int | float:
    """Gives the number below which a share of the numbers lies; 0.25 is the lower quartile.

    Between two numbers it interpolates, as spreadsheets do (PERCENTILE.INC).
    """
    return give(_quantile(sorted(numbers), share))


def _quantile(ordered: list[Fraction], share: Fraction) -> Fraction:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def describe(numbers: Numbers) -> dict[str, int | float | None]:
    """Describes a list of numbers: count, sum, mean, median, quartiles, extremes, deviation."""
    ordered = sorted(numbers)
    quarters = [give(_quantile(ordered, Fraction(n, 4))) for n in range(5)]
    several = len(numbers) >= _FEWEST
    return {
        "count": len(numbers),
        "sum": give(add_up(numbers)),
        "mean": give(average(numbers)),
        "minimum": quarters[0],
        "lower_quartile": quarters[1],
        "median": quarters[2],
        "upper_quartile": quarters[3],
        "maximum": quarters[4],
        "standard_deviation": give_root(variance_of(numbers, "sample")) if several else None,
    }


def correlation(xs: Numbers, ys: Numbers) -> int | float:
    """Takes Pearson's correlation of two lists of numbers of one length, from -1 to 1."""
    together, of_xs, of_ys = _moments(xs, ys)
    if of_xs == 0 or of_ys == 0:
        raise refuse("there is no correlation with numbers that are all the same")
    strength = give_root(together**2 / (of_xs * of_ys))
    return -strength if together < 0 else strength


def line(xs: Numbers, ys: Numbers) -> dict[str, int | float]:
    """Fits a straight line by least squares: gives slope and intercept."""
    together, of_xs, _ = _moments(xs, ys)
    if of_xs == 0:
        raise refuse("there is no line through points that all have the same x")
    slope = together / of_xs
    return {"slope": give(slope), "intercept": give(average(ys) - slope * average(xs))}


def _moments(xs: list[Fraction], ys: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    if len(xs) != len(ys):
        raise refuse(f"both lists have to be of one length, and have {len(xs)} and {len(ys)}")
    x, y = average(xs), average(ys)
    return (
        add_up((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)),
        add_up((a - x) ** 2 for a in xs),
        add_up((b - y) ** 2 for b in ys),
    )


def percent_of(percent: Number, whole: Number) -> int | float:
    """Gives so many percent of a number: 15 percent of 80 is 12."""
    return give(percent * whole / 100)


def as_percent(part: Number, whole: Number) -> int | float:
    """Says how many percent of a whole a part is: 12 of 80 are 15."""
    if whole == 0:
        raise refuse("a part of 0 is no percentage: whole must not be 0", "division_by_zero")
    return give(part * 100 / whole)


def percent_change(before: Number, after: Number) -> int | float:
    """Says by how many percent a number has changed: from 80 to 100 it is 25."""
    if before == 0:
        raise refuse("a change from 0 is no percentage: before must not be 0", "division_by_zero")
    return give((after - before) * 100 / abs(before))


TOOLS = (
    variance,
    standard_deviation,
    mode,
    quantile,
    describe,
    correlation,
    line,
    percent_of,
    as_percent,
    percent_change,
)
