"""Begin to export traces, with the libraries that are installed only for that."""

from __future__ import annotations

from starlings.messages import ConfigError

from .settings import TelemetrySettings
from .spans import Tracer

FLUSH_WITHIN_S = 3.0  # at the end of a process


def open_tracer(settings: TelemetrySettings, *, service: str, instance: str) -> Tracer:
    """Make the tracer of a process; the caller closes it.

    Raises:
        ConfigError: the libraries are missing.
    """
    try:
        from .otlp import OtlpTracer  # noqa: PLC0415 - who exports nothing need not have it
    except ImportError as error:
        if not (error.name or "").startswith(("opentelemetry", "google", "requests")):
            raise
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what exports traces is not installed:"
            " `pip install 'starlings[otlp]'`, or unset it"
        ) from error
    return OtlpTracer(settings, service=service, instance=instance)
