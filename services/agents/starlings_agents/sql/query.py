"""What is asked, by which key it is known, and what every database has to do with it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from starlings.blobs import Claim

from .table import Table

SQL_LIMIT = 30_000
CONNECTION_LOST = "connection_lost"  # on the way: nobody knows what became of the statement

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]


class Query(BaseModel):
    """The step's input: one statement, its parameters apart from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connection: Name
    sql: str = Field(min_length=1, max_length=SQL_LIMIT, pattern=r"^[^\x00]+$")
    params: list[JsonValue] | dict[str, JsonValue] = Field(
        default_factory=list, description="values for $1, $2, … or, by name, for $name"
    )
    max_rows: int | None = Field(default=None, ge=1, description="no more than the setting allows")
    on_more: Literal["error", "truncate"] = "error"
    timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tables: dict[Name, Claim] = Field(
        default_factory=dict, max_length=32, description="results of earlier steps, by table name"
    )


class Job(BaseModel):
    """The handle: with this any instance goes on, or begins anew what only reads."""

    key: str
    query: Query

    @property
    def name(self) -> str:
        """The key as databases take it: `starlings-` and 32 hex digits."""
        return f"starlings-{hashlib.sha256(self.key.encode()).hexdigest()[:32]}"


class Engine(Protocol):
    """A database that runs queries."""

    async def run(self, job: Job, table: Table) -> dict[str, Any]:
        """Run it into the table, which is finished, and return the output.

        Called again for the same key, it finds what runs or ran, or begins anew what only reads:
        a statement that writes takes effect once. Cancelled, it ends the statement.
        """

    async def cancel(self, job: Job) -> None:
        """End it, whichever instance has begun it; one that is not there is no error."""
