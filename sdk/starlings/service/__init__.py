"""What makes a coroutine a service: settings, log lines, health, metrics, signals, exit codes.

A service is a function and a settings class:

```python
class PlannerSettings(ServiceSettings):
    model: str = Field(default="…", description="name of the model")      # STARLINGS_MODEL


async def main(ctx: ServiceContext[PlannerSettings]) -> None:
    consumer = …
    show_consumer(ctx, "consumer", consumer)
    ctx.metrics.pull(Metric.COOLDOWN, lambda: pace.remaining_s)
    ctx.health.ready_when(lambda: None if consumer.assigned else "no partition assigned yet")
    with log_context(run_id="r1", traceparent=…):
        ctx.log.info("planned", steps=3)
    await consumer.run(ctx.stop, ctx.settings.grace_s)


sys.exit(run_service("planner", main, PlannerSettings))
```

Rules:

- Settings come from the environment and `.env`; a wrong one ends the process with code 2 and one
  line that names the variable. The class goes to `run_service`, not an object.
- The first SIGTERM or SIGINT sets `ctx.stop`; `main` finishes its work within `grace_s` and
  returns. The second ends the process at once.
- `/healthz` looks at loops only: the event loop beats by itself, further loops are followed. Lag is
  a number on `/metrics`, never a reason to be restarted.
- Log lines go to standard error; standard output belongs to the program.
"""

from __future__ import annotations

from .consumers import show_consumer
from .health import HealthServer, Heartbeat
from .logging import HoldBack, RateLimit, configure_logging, log_context
from .metrics import Metric, ServiceMetrics
from .ports import KafkaPorts, kafka_ports
from .run import ServiceContext, run_service
from .settings import (
    ServiceSettings,
    default_blobs_url,
    load_settings,
    new_instance_id,
    settings_error,
    variable_name,
)
from .tracing import consumer_span, note_outcome, seed_of, used

__all__ = [
    "HealthServer",
    "Heartbeat",
    "HoldBack",
    "KafkaPorts",
    "Metric",
    "RateLimit",
    "ServiceContext",
    "ServiceMetrics",
    "ServiceSettings",
    "configure_logging",
    "consumer_span",
    "default_blobs_url",
    "kafka_ports",
    "load_settings",
    "log_context",
    "new_instance_id",
    "note_outcome",
    "run_service",
    "seed_of",
    "settings_error",
    "show_consumer",
    "used",
    "variable_name",
]
