"""Running a service as a process: settings, logging, signals, health, exit codes.

Exit codes: 0 a clean stop, 1 an unexpected failure or work left over when the grace period ended,
2 a wrong setting (one clear line on standard error), 130 and 143 a second SIGINT or SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic

import structlog
from typing_extensions import TypeVar

from starlings.messages import ConfigError
from starlings.telemetry import (
    FLUSH_WITHIN_S,
    OFF,
    TelemetrySettings,
    TelemetrySwitch,
    Tracer,
    open_tracer,
)

from .health import HealthServer, Heartbeat
from .logging import configure_logging
from .metrics import Metric, ServiceMetrics
from .settings import ServiceSettings, load_settings

try:
    import uvloop
except ImportError:  # not made for Windows
    uvloop = None  # type: ignore[assignment]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
BEAT_EVERY_S = 0.5
COLLECT_EVERY = 20_000  # objects more than were freed, between two searches for cycles
# After the grace period a service has this long to commit and to leave before it is cancelled.
LEAVE_S = 3.0

S = TypeVar("S", bound=ServiceSettings, default=ServiceSettings)


@dataclass(frozen=True, slots=True)
class ServiceContext(Generic[S]):
    """What the main coroutine of a service is given."""

    settings: S
    stop: asyncio.Event
    heartbeat: Heartbeat
    health: HealthServer
    metrics: ServiceMetrics
    log: structlog.typing.FilteringBoundLogger
    instance: str
    tracer: Tracer = OFF


def run_service(
    name: str,
    main: Callable[[ServiceContext[S]], Awaitable[None]],
    settings: S | Callable[[], S],
) -> int:
    """Run `main` until it returns or a signal stops it; give the process's exit code.

    Give the settings' class rather than an object, so that a wrong value is reported as one line.
    After SIGTERM or SIGINT `stop` is set; `main` finishes within `grace_s` and returns.
    """
    try:
        known = settings if isinstance(settings, ServiceSettings) else settings()
        configure_logging(
            level=known.log_level,
            log_format=known.log_format,
            service=name,
            instance=known.instance,
        )
        with _tracing(name, known.instance) as tracer:
            _calm_the_collector()
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_supervise(name, main, known, tracer))
    except Exception as error:
        if (wrong := _config_error(error)) is not None:
            print(f"{name}: {wrong}", file=sys.stderr, flush=True)  # noqa: T201 - for who starts it
            return EXIT_CONFIG
        structlog.get_logger(__name__).exception("the service failed", service=name)
        return EXIT_FAILED


def _config_error(error: BaseException) -> ConfigError | None:
    """Find a wrong setting, also where it came out of one of several tasks."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_config_error, error.exceptions)), None)
    return error if isinstance(error, ConfigError) else None


@contextmanager
def _tracing(name: str, instance: str) -> Generator[Tracer]:
    """Export traces where that is asked for; at the end, what is left of them."""
    if not load_settings(TelemetrySwitch).on:
        yield OFF
        return
    settings = load_settings(TelemetrySettings)
    tracer = open_tracer(settings, service=name, instance=instance)
    structlog.get_logger(name).info("exporting traces", sampler=settings.traces_sampler)
    try:
        yield tracer
    finally:
        tracer.close(FLUSH_WITHIN_S)


def _calm_the_collector() -> None:
    """Let Python look for cycles less often.

    A service makes and drops hundreds of objects per message, hardly any of them in cycles. By
    default every 700 new objects start a search, which took a fifth of a busy service's time.
    """
    gc.collect()
    gc.freeze()  # what has been imported stays
    gc.set_threshold(COLLECT_EVERY)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return None if uvloop is None else uvloop.new_event_loop


async def _supervise(
    name: str, main: Callable[[ServiceContext[S]], Awaitable[None]], settings: S, tracer: Tracer
) -> int:
    context = _context(name, settings, tracer)
    context.health.start()
    beats = asyncio.create_task(_beat(context.heartbeat))
    try:
        with _stop_on_signals(context.stop, context.log):
            return await _run_main(main, context)
    finally:
        beats.cancel()
        context.health.stop()


def _context(name: str, settings: S, tracer: Tracer) -> ServiceContext[S]:
    heartbeat = Heartbeat(settings.heartbeat_limit_s)
    metrics = ServiceMetrics()
    metrics.pull(Metric.LOOP_AGE, heartbeat.age_s)
    metrics.pull(Metric.INFO, lambda: 1, service=name, instance=settings.instance)
    health = HealthServer(
        heartbeat, metrics.registry, host=settings.health_host, port=settings.health_port
    )
    return ServiceContext(
        settings=settings,
        stop=asyncio.Event(),
        heartbeat=heartbeat,
        health=health,
        metrics=metrics,
        log=structlog.get_logger(name),
        instance=settings.instance,
        tracer=tracer,
    )


async def _run_main(
    main: Callable[[ServiceContext[S]], Awaitable[None]], context: ServiceContext[S]
) -> int:
    work = asyncio.ensure_future(main(context))
    stopped = asyncio.create_task(context.stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            context.health.ready_when(lambda: "stopping")
            await asyncio.wait({work}, timeout=context.settings.grace_s + LEAVE_S)
        if not work.done():
            context.log.error("the grace period is over, work is left behind")
            work.cancel()
            await asyncio.wait({work}, timeout=LEAVE_S)
            return EXIT_FAILED
        await work
        context.log.info("stopped")
        return EXIT_OK
    finally:
        stopped.cancel()


async def _beat(heartbeat: Heartbeat) -> None:
    while True:
        heartbeat.beat()
        await asyncio.sleep(BEAT_EVERY_S)


@contextmanager
def _stop_on_signals(stop: asyncio.Event, log: Any) -> Generator[None]:
    """Turn the first SIGTERM or SIGINT into `stop`, and the second into an immediate exit.

    These are the interpreter's handlers and not the loop's, so that the second signal ends also a
    process whose loop is stuck.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        loop.call_soon_threadsafe(begin_stop, signal.Signals(number).name)

    def begin_stop(name: str) -> None:
        log.info("stopping", signal=name)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
