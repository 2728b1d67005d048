"""Settings that every service has, from the environment and `.env`.

A wrong value ends the program at start with a `ConfigError` that names the environment variable,
what it was given and what is allowed. Values of secrets appear in no message and no log line: hold
them in `pydantic.SecretStr`.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import (
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from starlings.environment import EnvironmentSettings
from starlings.kafka.seat import Seat
from starlings.messages import ConfigError, Topics

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

_OFF = frozenset({"off", "none", "no", "false"})
_NOT_IN_INSTANCE = re.compile(r"[^A-Za-z0-9._-]")


def new_instance_id() -> str:
    """Name this process: `<hostname>-<pid>-<4 hex>`, different after each start."""
    host = _NOT_IN_INSTANCE.sub("-", socket.gethostname()) or "host"
    return f"{host[:80]}-{os.getpid()}-{os.urandom(2).hex()}"


def default_blobs_url() -> str:
    """Name the local folder for large values, the same for every process of this user."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return (data / "starlings" / "blobs").absolute().as_uri()


class ServiceSettings(EnvironmentSettings):
    """What every service can be told, as `STARLINGS_<NAME>`; a service's own settings extend it."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_", validate_default=False)

    topic_prefix: str = Field(
        default="starlings.", description="prefix of all topics: letters, digits, '.', '_', '-'"
    )
    partitions: int = Field(
        default=4, ge=1, le=10_000, description="partitions of a topic that is created"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="auto (pretty in a terminal), json or pretty"
    )
    health_host: str = Field(
        default="127.0.0.1", description="address of /healthz, /readyz and /metrics"
    )
    health_port: int | None = Field(
        default=0, ge=0, le=65_535, description="a port, 0 for any free one, or off"
    )
    heartbeat_limit_s: float = Field(
        default=15.0, gt=0, description="seconds without a turn of the loop until /healthz fails"
    )
    grace_s: float = Field(
        default=25.0, ge=0, le=86_400, description="seconds for work in hand after SIGTERM"
    )
    blobs_url: str = Field(
        default_factory=default_blobs_url,
        description="where values over 256 KiB go: file:///…, s3://…, gs://… or az://…",
    )
    instance: str = Field(
        default_factory=new_instance_id,
        pattern=r"^[A-Za-z0-9._-]{1,120}$",
        description="name of this process, unique among its replicas",
    )
    session_timeout_s: float = Field(
        default=6.0,
        ge=1,
        le=1_800,
        description="silence after which a group gives our partitions to others: 1 to 1800 s",
    )
    static_membership: bool = Field(
        default=False,
        description="true: a restart under the same STARLINGS_INSTANCE gets its partitions back",
    )
    leave_on_stop: bool = Field(
        default=True,
        description="false: a static member that is stopped keeps its partitions for its successor",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except (ValidationError, SettingsError) as error:
            raise settings_error(type(self), error) from None

    @field_validator("health_port", mode="before")
    @classmethod
    def _port_off(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.strip().lower() in _OFF else value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("topic_prefix")
    @classmethod
    def _fit_for_kafka(cls, value: str) -> str:
        try:
            return Topics(prefix=value).prefix
        except ConfigError as error:
            raise ValueError("has characters that Kafka forbids in a topic's name") from error

    @model_validator(mode="after")
    def _name_that_lasts(self) -> Self:
        if self.static_membership and "instance" not in self.model_fields_set:
            raise ValueError(
                "STARLINGS_STATIC_MEMBERSHIP=true needs STARLINGS_INSTANCE: a name that this"
                " process has again after a restart, and no other has, such as its pod's"
            )
        if not self.leave_on_stop and not self.static_membership:
            raise ValueError(
                "STARLINGS_LEAVE_ON_STOP=false needs STARLINGS_STATIC_MEMBERSHIP=true: nobody"
                " could take up what is kept"
            )
        return self

    @property
    def seat(self) -> Seat:
        """What consumer groups are told of this process."""
        return Seat(
            session_timeout_ms=int(self.session_timeout_s * 1_000),
            instance=self.instance if self.static_membership else None,
            leave_on_stop=self.leave_on_stop,
        )

    @property
    def topics(self) -> Topics:
        """Names of topics and groups under this installation's prefix."""
        return Topics(prefix=self.topic_prefix)


def load_settings(settings: type[SettingsT], **values: Any) -> SettingsT:
    """Read any settings class from the environment; what is wrong becomes a `ConfigError`."""
    try:
        return settings(**values)
    except (ValidationError, SettingsError) as error:
        raise settings_error(settings, error) from None


def settings_error(
    settings: type[BaseSettings], error: ValidationError | SettingsError
) -> ConfigError:
    """Say in one line which variables are wrong, and what each allows."""
    if isinstance(error, SettingsError):
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return ConfigError(f"settings cannot be read: {error}{cause}")
    return ConfigError("; ".join(_describe(settings, item) for item in error.errors()))


def variable_name(settings: type[BaseSettings], field: str) -> str:
    """Name the environment variable of a field."""
    info = settings.model_fields.get(field)
    alias = info.validation_alias if info else None
    if isinstance(alias, str):
        return alias.upper()
    return f"{settings.model_config.get('env_prefix', '')}{field}".upper()


def _describe(settings: type[BaseSettings], item: ErrorDetails) -> str:
    field = str(item["loc"][0]) if item["loc"] else ""
    if not field:
        return item["msg"].removeprefix("Value error, ")
    info = _field(settings, field)
    name = variable_name(settings, field)
    allowed = f"; it takes {info.description}" if info and info.description else ""
    if item["type"] == "missing":
        return f"{name} is not set{allowed}"
    given = f"={item['input']!r}"
    if info is None or _is_secret(info) or "@" in given:  # an address may carry a password
        given = ""
    said = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}{given} is wrong: it {said}{allowed}"


def _field(settings: type[BaseSettings], name: str) -> FieldInfo | None:
    for field, info in settings.model_fields.items():
        if name in (field, info.validation_alias, info.alias):
            return info
    return None


def _is_secret(info: FieldInfo) -> bool:
    kinds = (info.annotation, *get_args(info.annotation))
    return any(kind in (SecretStr, SecretBytes) for kind in kinds)
