"""Where traces go: OpenTelemetry's own variables, read from the environment and `.env`.

Without an endpoint there is no export, and the others are not even looked at: they may be set for
other programs. With one, what is wrong ends the program at start, since nobody would miss traces
before they are needed. What is not listed here (`OTEL_BSP_…`, `OTEL_EXPORTER_OTLP_TIMEOUT`,
`…_COMPRESSION`, `…_CERTIFICATE`, …) the library reads from the environment by itself.

Source: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter".
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should begin with http:// or https:// and a host")
    return value


def _pairs(text: str) -> dict[str, str]:
    """Read `name=value,name=value`, percent-encoded (W3C Baggage)."""
    found: dict[str, str] = {}
    for pair in filter(str.strip, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError("should be name=value, several with commas between")
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def _secret_pairs(value: SecretStr) -> SecretStr:
    _pairs(value.get_secret_value())
    return value


def _shown_pairs(value: str) -> str:
    _pairs(value)
    return value


Address = Annotated[str, AfterValidator(_web_address)]
SecretPairs = Annotated[SecretStr, AfterValidator(_secret_pairs)]
Pairs = Annotated[str, AfterValidator(_shown_pairs)]

_ADDRESS = "the collector's address for OTLP over HTTP"
_HEADERS = "name=value, several with commas between"
_PROTOCOL = "http/protobuf alone; name the collector's port for it, usually 4318"


class TelemetrySwitch(BaseSettings):
    """Whether traces are exported at all."""

    model_config = SettingsConfigDict(
        env_prefix="OTEL_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    sdk_disabled: str = ""
    traces_exporter: str = "otlp"
    exporter_otlp_endpoint: str | None = None
    exporter_otlp_traces_endpoint: str | None = None

    @property
    def on(self) -> bool:
        """Whether an endpoint is named, and nothing says that it is not to be used."""
        named = self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        disabled = self.sdk_disabled.strip().lower() == "true"
        return bool(named) and not disabled and self.traces_exporter.strip() != "none"


class TelemetrySettings(TelemetrySwitch):
    """How traces are exported."""

    exporter_otlp_endpoint: Address | None = Field(
        default=None, description=f"{_ADDRESS}, as http://collector:4318"
    )
    exporter_otlp_traces_endpoint: Address | None = Field(
        default=None, description=f"{_ADDRESS} with its path, as http://collector:4318/v1/traces"
    )
    exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", description=_PROTOCOL
    )
    exporter_otlp_traces_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", description=_PROTOCOL
    )
    exporter_otlp_headers: SecretPairs = Field(default=SecretStr(""), description=_HEADERS)
    exporter_otlp_traces_headers: SecretPairs = Field(default=SecretStr(""), description=_HEADERS)
    service_name: str | None = Field(default=None, description="what the service is called")
    resource_attributes: Pairs = Field(default="", description=_HEADERS)
    traces_sampler: Sampler = Field(
        default="parentbased_always_on",
        description="always_on, always_off, traceidratio, or one of these after parentbased_",
    )
    traces_sampler_arg: float = Field(
        default=1.0, ge=0, le=1, description="a share of traces from 0 to 1, for …traceidratio"
    )

    @property
    def address(self) -> str:
        """Where spans are posted."""
        whole = self.exporter_otlp_traces_endpoint
        base = self.exporter_otlp_endpoint or ""
        return whole or f"{base.rstrip('/')}/v1/traces"

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with each request."""
        own, every = self.exporter_otlp_traces_headers, self.exporter_otlp_headers
        return _pairs(own.get_secret_value() or every.get_secret_value())

    @property
    def resource(self) -> dict[str, str]:
        """What is said of the process, apart from its name."""
        return _pairs(self.resource_attributes)
