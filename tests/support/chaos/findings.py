"""What an audit finds: which rule is broken, by which run, and where in the log to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .evidence import Evidence, Row

PLACES_SHOWN = 4


@dataclass(frozen=True)
class Finding:
    """A rule that does not hold."""

    rule: str
    run_id: str
    text: str
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one line."""
        shown = ", ".join(self.places[:PLACES_SHOWN])
        more = f" and {len(self.places) - PLACES_SHOWN} more" * (len(self.places) > PLACES_SHOWN)
        where = f" [{shown}{more}]" if self.places else ""
        return f"{self.rule}: {self.run_id or '-'}: {self.text}{where}"


Rule = Callable[[Evidence], Iterator[Finding]]


def places(*rows: Row) -> tuple[str, ...]:
    """Name where records lie."""
    return tuple(row.place for row in rows)
