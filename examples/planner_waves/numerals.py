"""A specialist of one's own: its description and its tools are all that the planner needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from starlings import Agent

numerals = Agent("numerals", description="Writes whole numbers as Roman numerals")

SIGNS = dict(
    zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"],
        strict=True,
    )
)


@numerals.tool(idempotent=True)
def roman(number: Annotated[int, Field(ge=1, le=3999)]) -> str:
    """Writes a number from 1 to 3999 as a Roman numeral."""
    written = ""
    for value, sign in SIGNS.items():
        count, number = divmod(number, value)
        written += sign * count
    return written
