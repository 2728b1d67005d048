"""Whole numbers and fractions of the `math` agent: everything here is exact.

What would take long is refused by the size of its arguments, before it is begun.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import chain, count
from typing import Annotated, Literal

from pydantic import Field

from .numbers import MAX_DIGITS, Number, Whole, digits, give, refuse, too_large

FACTORED_BELOW = 10**12  # a million divisions at most
TESTED_BELOW = 3_317_044_064_679_887_385_961_981  # for the witnesses below: Sorenson, Webster 2015
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Natural = Annotated[Whole, Field(ge=0)]
Base = Annotated[Whole, Field(ge=2, le=36)]


def divide_whole(a: Whole, b: Whole) -> dict[str, int]:
    """Divides whole numbers: gives quotient and remainder, rounding down."""
    if b == 0:
        raise refuse("division by zero: b must not be 0", "division_by_zero")
    quotient, remainder = divmod(a, b)
    return {"quotient": quotient, "remainder": remainder}


def power_modulo(a: Whole, b: Natural, m: Annotated[Whole, Field(ge=1)]) -> int:
    """Gives the remainder of a to the power of b, divided by m."""
    work = (b.bit_length() + 1) * m.bit_length() ** 2
    if work > 10**11:
        raise refuse("these numbers are too large to be worked with", "result_too_large")
    return pow(a, b, m)


def is_prime(n: Whole) -> bool:
    """Says whether a whole number is prime."""
    if n < _WITNESSES[0]:
        return False
    if n >= TESTED_BELOW:
        raise refuse(f"only numbers below {TESTED_BELOW:,} can be tested")
    for prime in _WITNESSES:
        if n % prime == 0:
            return n == prime
    return all(_seems_prime(n, witness) for witness in _WITNESSES)


def _seems_prime(n: int, witness: int) -> bool:
    """Make one round of the test of Miller and Rabin."""
    odd, halvings = n - 1, 0
    while odd % 2 == 0:
        odd, halvings = odd // 2, halvings + 1
    x = pow(witness, odd, n)
    if x in {1, n - 1}:
        return True
    return any((x := x * x % n) == n - 1 for _ in range(halvings - 1))


def prime_factors(n: Annotated[Whole, Field(ge=1, le=FACTORED_BELOW)]) -> list[int]:
    """Gives the prime factors of a whole number, in order, each as often as it divides it."""
    factors: list[int] = []
    for candidate in chain((2,), count(3, 2)):
        if candidate * candidate > n:
            break
        while n % candidate == 0:
            factors.append(candidate)
            n //= candidate
    return [*factors, n] if n > 1 else factors


def divisors(n: Annotated[Whole, Field(ge=1, le=FACTORED_BELOW)]) -> list[int]:
    """Gives all divisors of a whole number, in order."""
    found = [1]
    for prime in prime_factors(n):
        found = list({*found, *(known * prime for known in found)})
    return sorted(found)


def combinations(n: Natural, k: Natural) -> int:
    """Counts the ways to choose k of n things, in any order."""
    if k > n:
        return 0
    _check_size(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1), n, k)
    return math.comb(n, k)


def permutations(n: Natural, k: Natural) -> int:
    """Counts the ways to choose k of n things and to put them in order."""
    if k > n:
        return 0
    _check_size(math.lgamma(n + 1) - math.lgamma(n - k + 1), n, k)
    return math.perm(n, k)


def _check_size(logarithm: float, n: int, k: int) -> None:
    if n >= 10**15:
        raise refuse(f"n has to be below 10**15, and is {n:,}")
    size = logarithm / math.log(10)
    if size > MAX_DIGITS or min(k, n - k) > 10**6:
        raise too_large(size)


def fibonacci(n: Annotated[Whole, Field(ge=0, le=19_000)]) -> int:
    """Gives the n-th Fibonacci number; the 0th is 0, the 1st and 2nd are 1."""
    before, now = 1, 0
    for _ in range(n):
        before, now = now, before + now
    return now


def to_base(n: Whole, base: Base) -> str:
    """Writes a whole number in another base, from 2 to 36; 255 in base 16 is ff."""
    if abs(n) >= 10**1_000:
        raise refuse("only numbers of up to 1,000 digits are written in another base")
    left, written = abs(n), ""
    while left:
        left, digit = divmod(left, base)
        written = _DIGITS[digit] + written
    return ("-" if n < 0 else "") + (written or "0")


def from_base(text: Annotated[str, Field(max_length=4_000)], base: Base) -> int | float:
    """Reads a whole number that is written in another base, from 2 to 36."""
    digits_only = text.strip().lower()
    body = digits_only.removeprefix("-")
    if not body or any(c not in _DIGITS[:base] for c in body):
        raise refuse(f"{text[:40]!r} is no whole number in base {base}")
    return give(Fraction(int(digits_only, base)))


# -- fractions -------------------------------------------------------------------------------------

Operation = Literal["add", "subtract", "multiply", "divide"]


def calculate_fraction(a: Number, operation: Operation, b: Number) -> str:
    """Calculates exactly and gives a fraction as text: 1/3 add 1/6 is "1/2".

    Args:
        a: a number or a fraction such as "1/3".
        operation: what to do.
        b: a number or a fraction such as "1/6".
    """
    if operation == "add":
        return _written(a + b)
    if operation == "subtract":
        return _written(a - b)
    if operation == "multiply":
        return _written(a * b)
    if b == 0:
        raise refuse("division by zero: b must not be 0", "division_by_zero")
    return _written(a / b)


def as_fraction(a: Number, largest_denominator: Annotated[Whole, Field(ge=1)] | None = None) -> str:
    """Writes a number as a fraction in lowest terms: 0.75 is "3/4".

    Args:
        a: a number, or a fraction such as "6/8".
        largest_denominator: gives the nearest fraction whose denominator is not larger.
    """
    return _written(a if largest_denominator is None else a.limit_denominator(largest_denominator))


def _written(number: Fraction) -> str:
    if digits(number or Fraction(1)) > MAX_DIGITS:
        raise too_large(digits(number))
    return str(number)


TOOLS = (
    divide_whole,
    power_modulo,
    is_prime,
    prime_factors,
    divisors,
    combinations,
    permutations,
    fibonacci,
    to_base,
    from_base,
    calculate_fraction,
    as_fraction,
)
