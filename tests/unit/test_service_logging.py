"""Log lines: their form, the ids they carry, and how floods are held back."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
import structlog
from support.logs import logged

from starlings.service import HoldBack, RateLimit, configure_logging, log_context
from starlings.telemetry.traceparent import new_traceparent, trace_id


@pytest.fixture
def lines():
    """Whatever is logged as JSON, as a list that is read when asked."""
    with logged(service="tiny", instance="i1") as lines:
        yield lines


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_one_json_object_with_level_time_service_and_instance(lines):
    structlog.get_logger("a").info("planned", steps=3)
    (line,) = lines()
    assert line["event"] == "planned"
    assert (line["level"], line["logger"], line["steps"]) == ("info", "a", 3)
    assert (line["service"], line["instance"]) == ("tiny", "i1")
    assert line["timestamp"].endswith("Z")


def test_run_step_and_trace_stand_on_every_line_within_the_context_and_on_none_after(lines):
    parent = new_traceparent()
    log = structlog.get_logger("a")
    with log_context(run_id="r1", traceparent=parent), log_context(step_id="s2"):
        log.info("inside")
        logging.getLogger("somebody.else").warning("%s too", "inside")
    log.info("outside")
    first, second, third = lines()
    for line in (first, second):
        assert (line["run"], line["step"], line["trace"]) == ("r1", "s2", trace_id(parent))
    assert second["event"] == "inside too"
    assert not {"run", "step", "trace"} & third.keys()


async def test_tasks_that_run_at_once_keep_their_ids_apart(lines):
    log = structlog.get_logger("a")

    async def work(run_id: str) -> None:
        with log_context(run_id=run_id):
            await asyncio.sleep(0)
            log.info("done", expected=run_id)

    await asyncio.gather(*(work(f"r{n}") for n in range(5)))
    assert [line["run"] for line in lines()] == [line["expected"] for line in lines()]
    assert len(lines()) == 5


def test_lines_below_the_level_are_not_written(lines):
    structlog.get_logger("a").debug("chatter")
    logging.getLogger("b").debug("chatter")
    logging.getLogger("httpx").info("a request was made")
    assert lines() == []


def test_a_traceback_shows_no_values_of_variables(lines):
    password = "hunter2"
    try:
        len(password) / 0
    except ZeroDivisionError:
        structlog.get_logger("a").exception("failed")
    (line,) = lines()
    assert "ZeroDivisionError" in line["exception"]
    assert "hunter2" not in json.dumps(line)


def test_values_that_json_cannot_hold_are_written_as_text(lines):
    structlog.get_logger("a").info("odd", value=object(), raw=b"\xff", number=2**80)
    (line,) = lines()
    assert "object object" in line["value"]
    assert line["number"] == 2**80


def test_the_form_follows_the_terminal(lines):
    terminal = _Terminal()
    configure_logging(level="info", log_format="auto", stream=terminal, service="tiny")
    structlog.get_logger("a").info("planned", steps=3)
    assert "planned" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    pipe = io.StringIO()
    configure_logging(level="info", log_format="auto", stream=pipe)
    structlog.get_logger("a").info("planned", steps=3)
    assert json.loads(pipe.getvalue())["steps"] == 3


def test_a_flood_of_aiokafka_lines_becomes_one_line_that_tells_how_many_are_missing(lines):
    now = 0.0
    limit = RateLimit("aiokafka", every_s=10, clock=lambda: now)
    handler = logging.getLogger().handlers[0]
    handler.filters = [limit]
    log = logging.getLogger("aiokafka.conn")
    for attempt in range(1_000):
        log.error("cannot connect, attempt %s", attempt)
    now = 10.0
    log.error("cannot connect, attempt %s", 1_000)
    first, second = lines()
    assert first["event"] == "cannot connect, attempt 0"
    assert (second["event"], second["left_out"]) == ("cannot connect, attempt 1000", 999)


def test_the_limit_holds_back_neither_other_kinds_nor_other_loggers(lines):
    handler = logging.getLogger().handlers[0]
    handler.filters = [RateLimit("aiokafka", clock=lambda: 0.0)]
    logging.getLogger("aiokafka.conn").error("one")
    logging.getLogger("aiokafka.conn").error("two")
    for _ in range(3):
        logging.getLogger("ours").error("mine")
    assert [line["event"] for line in lines()] == ["one", "two", "mine", "mine", "mine"]


def test_what_passes_by_itself_is_told_only_where_it_lasts(lines):
    now = 0.0
    handler = logging.getLogger().handlers[0]
    handler.filters = [HoldBack(lasting_s=5, clock=lambda: now)]
    log = logging.getLogger("aiokafka.consumer.group_coordinator")
    for now in (0.0, 1.0, 100.0, 102.0, 104.0, 106.0):
        log.error("Group Coordinator Request failed: %s", now)
        log.warning("something else")
    told = [line["event"] for line in lines() if "Group" in line["event"]]
    assert told == ["Group Coordinator Request failed: 106.0"]
    assert len(lines()) == 7
