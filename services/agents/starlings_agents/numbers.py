"""Numbers as the `math` agent takes and gives them.

Rules:
- Everything is computed with exact fractions; a decimal such as 0.1 means one tenth, not the binary
  number nearest to it.
- A fraction may be written as text, "2/3".
- Whole results are integers and exact, up to `MAX_DIGITS` digits. Others become the nearest binary
  double, since JSON has nothing better that everybody reads alike.
- What would be larger is refused before it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from starlings import StepFailed

MAX_DIGITS = 4_000  # parsers of JSON in Python read integers of up to 4,300
_CEILING = 10**MAX_DIGITS
_LIST_DIGITS = 200_000  # of all numbers of a list together


def refuse(message: str, code: str = "arguments_invalid") -> StepFailed:
    """Make the error for numbers that cannot be worked with."""
    return StepFailed(message, code=code)


def too_large(size: float) -> StepFailed:
    """Make the error for a result that would have too many digits."""
    about = "far more than a million" if size > 10**6 else f"about {int(size) + 1:,}"
    return refuse(
        f"the result would have {about} digits, and the limit is {MAX_DIGITS:,}",
        "result_too_large",
    )


def read_number(value: Any) -> Fraction:
    """Read a number, or a text that is one, exactly.

    Raises:
        ValueError: it is no finite number, or one of too many digits.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("it has to be a number")  # noqa: TRY004 - pydantic wants a ValueError
    if isinstance(value, str) and len(value) > 2 * MAX_DIGITS:
        raise ValueError(f"it has more than {MAX_DIGITS:,} digits")
    text = str(value).strip()
    above, slash, below = text.partition("/")
    if not slash:
        return _read_decimal(text)
    denominator = _read_decimal(below.strip())
    if denominator == 0:
        raise ValueError("it is a fraction with the denominator 0")
    return _read_decimal(above.strip()) / denominator


def _read_decimal(text: str) -> Fraction:
    try:
        decimal = Decimal(text)
    except DecimalException:
        raise ValueError("it has to be a number, written like 12, -3.5, 1e6 or 2/3") from None
    if not decimal.is_finite():
        raise ValueError("it has to be a finite number")
    if decimal and max(abs(decimal.adjusted()), len(decimal.as_tuple().digits)) > MAX_DIGITS:
        raise ValueError(f"it has more than {MAX_DIGITS:,} digits")
    return Fraction(decimal)


def read_whole(value: Any) -> int:
    """Read a whole number; 5.0 and "5" are whole.

    Raises:
        ValueError: it is none.
    """
    number = read_number(value)
    if number.denominator != 1:
        raise ValueError("it has to be a whole number")
    return number.numerator


Number = Annotated[Fraction, BeforeValidator(read_number), WithJsonSchema({"type": "number"})]
Whole = Annotated[int, BeforeValidator(read_whole), WithJsonSchema({"type": "integer"})]


def _bounded(numbers: list[Fraction]) -> list[Fraction]:
    if sum(digits(number) + 1 for number in numbers if number) > _LIST_DIGITS:
        raise ValueError(f"the numbers have more than {_LIST_DIGITS:,} digits together")
    return numbers


Numbers = Annotated[list[Number], Field(min_length=1, max_length=10_000), AfterValidator(_bounded)]


def add_up(numbers: Iterable[Fraction]) -> Fraction:
    """Add up exactly, as long as the denominators bear it.

    Raises:
        StepFailed: `result_too_large`: fractions such as 1/3 and 1/7 add up to ever longer ones.
    """
    result = Fraction(0)
    for number in numbers:
        result += number
        if result and digits(result) > 3 * MAX_DIGITS:
            raise too_large(digits(result))
    return result


def digits(number: Fraction) -> float:
    """Estimate, to within one, the digits of the larger of numerator and denominator."""
    return math.log10(max(abs(number.numerator), number.denominator))


def give(number: Fraction) -> int | float:
    """Return a result as JSON has it.

    Raises:
        StepFailed: `result_too_large`.
    """
    if number.denominator == 1:
        if abs(number.numerator) >= _CEILING:
            raise too_large(digits(number))
        return number.numerator
    return nearest(number)


def nearest(number: Fraction) -> float:
    """Return the binary double nearest to a number.

    Raises:
        StepFailed: `result_too_large`.
    """
    try:
        return float(number)
    except OverflowError:
        raise refuse(
            "the result is no whole number, and too large for a decimal one", "result_too_large"
        ) from None
