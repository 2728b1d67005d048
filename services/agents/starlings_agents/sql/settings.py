"""Databases by name, and how much a query may take.

Plans name a connection, never an address: `STARLINGS_SQL_<NAME>_URL` says where it is and as whom.
Passwords and tokens stay here; whatever a driver says is freed from them before it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_settings import SettingsConfigDict

from starlings import StepFailed
from starlings.messages import ConfigError
from starlings_agents.named_values import named_values, without
from starlings_agents.own_settings import OwnSettings

PREFIX = "STARLINGS_SQL_"
KINDS = ("duckdb", "postgresql", "bigquery", "snowflake")
_TABLES: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
_ON = frozenset({"1", "true", "yes", "on"})


class SqlSettings(OwnSettings):
    """As `STARLINGS_SQL_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    max_rows: int = Field(
        default=1_000_000, ge=1, le=1_000_000_000, description="rows of a result, at most"
    )
    max_bytes: int = Field(
        default=4 << 30, ge=1 << 20, description="bytes of a result as JSON on disk, at most"
    )
    timeout_s: float = Field(
        default=600.0, gt=0, le=86_400, description="seconds that a statement may take"
    )
    at_once: int = Field(
        default=4, ge=1, le=1_000, description="queries that one instance runs at once"
    )
    ask_turns: int = Field(
        default=4, ge=1, le=20, description="statements that a model may write for one question"
    )
    duckdb_memory: str = Field(
        default="512MB", pattern=r"^[1-9][0-9]*(MB|GB)$", description="memory like 512MB or 2GB"
    )
    duckdb_disk: str = Field(
        default="4GB",
        pattern=r"^[0-9]+(MB|GB)$",
        description="disk for what does not fit into that memory, like 500MB or 4GB",
    )
    duckdb_wait_s: float = Field(
        default=10.0,
        ge=0,
        le=86_400,
        description="seconds to wait for a file that another process has open",
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """A database by its name."""

    name: str
    url: str = field(repr=False)
    writable: bool = False
    token: str = field(default="", repr=False)
    tables: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> SplitResult:
        """The address in its parts."""
        return urlsplit(self.url)

    @property
    def kind(self) -> str:
        """Which database it is."""
        return "postgresql" if self.parts.scheme == "postgres" else self.parts.scheme

    @property
    def setting(self) -> str:
        """Name the setting that says where it is."""
        return f"{PREFIX}{self.name.upper()}_URL"

    def freed(self, text: str) -> str:
        """Take what is secret out of a driver's words."""
        password = self.parts.password or ""
        return without(text, {self.url, self.token, password, unquote(password)})


def connection(name: str) -> Connection:
    """Find a connection by its name.

    Raises:
        StepFailed: `unknown_connection`.
        ConfigError: it is set up wrongly.
    """
    urls = named_values(PREFIX, "_URL")
    url = urls.get(name.lower())
    if url is None:
        there = ", ".join(sorted(urls)) or "none"
        raise StepFailed(
            f"there is no connection {name!r}; there are: {there}. {PREFIX}{name.upper()}_URL "
            "makes one",
            code="unknown_connection",
        )
    found = Connection(
        name=name.lower(),
        url=url,
        writable=named_values(PREFIX, "_WRITABLE").get(name.lower(), "").lower() in _ON,
        token=named_values(PREFIX, "_TOKEN").get(name.lower(), ""),
        tables=_tables(name, named_values(PREFIX, "_TABLES").get(name.lower(), "{}")),
    )
    if found.kind not in KINDS:
        raise ConfigError(
            f"{found.setting} is wrong: it takes duckdb:///absolute/file, duckdb:, "
            "postgresql://user:password@host/database, bigquery://project or "
            "snowflake://account/database/schema"
        )
    return found


def _tables(name: str, text: str) -> dict[str, str]:
    try:
        return _TABLES.validate_json(text)
    except ValidationError:
        setting = f"{PREFIX}{name.upper()}_TABLES"
    raise ConfigError(
        f'{setting} is wrong: it takes JSON like {{"orders": "/data/orders.parquet"}}'
    )
