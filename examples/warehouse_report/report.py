"""Rows of a warehouse as a report that people read: the one step that is not built in."""

from __future__ import annotations

from pydantic import BaseModel

from starlings import Agent, Result

report = Agent("report", description="Writes rows as a report")


class Row(BaseModel):
    """What a country bought on a day, and on the day before."""

    country: str
    revenue: float
    before: float

    def line(self) -> str:
        """Write it as people read it."""
        change = f"{self.revenue / self.before - 1:+.0%}" if self.before else "new"
        return f"- {self.country}: {self.revenue:,.2f} ({change})"


class Rows(BaseModel):
    """What is to be reported."""

    day: str
    rows: list[Row]


@report.step
def write(given: Rows) -> Result:
    """Write the report; its summary is what the story of the run shows."""
    total = sum(row.revenue for row in given.rows)
    lines = [
        f"The best countries of {given.day}, {total:,.2f} together",
        *(row.line() for row in given.rows),
    ]
    return Result("\n".join(lines), summary=lines[0])
