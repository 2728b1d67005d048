"""One trace for a run, made of the spans of separate processes on a real Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from support import job_agent, relay
from support.asking import AWKWARD, call
from support.collector import Collector, Seen, collector
from support.job_server import job_server
from support.services import Services
from support.waiting import wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

ODD, UNDOABLE = f"{AWKWARD}:odd", f"{AWKWARD}:undoable"
REMOTE = f"{job_agent.__file__}:remote"
RELAY_ENV = {"PYTHONPATH": str(Path(relay.__file__).parents[1])}
SECRET = "a swordfish, in two words"
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)


@pytest.fixture
def traces(services: Services) -> Iterator[Collector]:
    with collector() as traces:
        services.env.update(traces.env)
        yield traces


def until_ended(traces: Collector, *names: str) -> list[Seen]:
    """Wait for the spans of a run's last moments."""
    wait_until_sync(
        lambda: {*names} <= {span.name for span in traces.spans()},
        timeout_s=60,
        message=f"spans {names} arrive",
    )
    return traces.spans()


async def test_a_request_in_words_becomes_one_trace_through_all_services(services, traces):
    services.start("coordinator", "planner", "math", "string")
    async with services.client() as client:
        run = await client.submit(REQUEST)
        done = await run.result(timeout_s=60)
    services.stop_all()

    assert done.output == 100
    spans = until_ended(traces, "run", "plan")
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    plan = traces.one("plan")
    assert (plan.parent_id, plan.service, plan.kind) == ("", "starlings-planner", "consumer")
    assert by_id[traces.one("run").parent_id] == plan
    first, words, product = (
        traces.one(f"invoke_agent {step.agent}", step_id=step.step_id) for step in done.steps
    )
    assert first.parent_id == words.parent_id == plan.span_id
    assert by_id[product.parent_id] in (first, words)  # whichever ended last made it ready
    assert {first.service, words.service} == {"starlings-agent-math", "starlings-agent-string"}
    for part in spans:
        if part.name.startswith(("chat ", "execute_tool ")):
            assert by_id[part.parent_id] in (plan, first, words, product)
    tools = [span for span in spans if span.name.startswith("execute_tool ")]
    assert sorted(by_id[tool.parent_id].span_id for tool in tools) == sorted(
        [first.span_id, words.span_id, product.span_id]
    )
    assert "Hello World" not in traces.bodies.decode(errors="replace")


async def test_an_attempt_tells_where_it_came_from_and_what_became_of_it(services, traces):
    services.start("coordinator", "planner", UNDOABLE)
    async with services.client() as client:
        step = {"id": "seat", "agent": "undoable", "input": {"returns": SECRET}, "task": SECRET}
        run = await client.submit(plan=[step], run_id="r1")
        await run.result(timeout_s=60)
    services.stop_all()

    until_ended(traces, "run", "plan")
    seat = traces.one("invoke_agent undoable")
    topic = services.topics.steps("undoable")
    assert seat.kind == "consumer"
    assert seat.failed is None
    assert {name: seat.about[name] for name in seat.about if "partition" not in name} == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": services.topics.agent_group("undoable"),
        "messaging.kafka.offset": 0,
        "messaging.message.id": "r1/seat/1/step_ready",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "undoable",
        "starlings.run_id": "r1",
        "starlings.step_id": "seat",
        "starlings.attempt": 1,
        "starlings.agent": "undoable",
        "starlings.outcome": "ok",
    }
    ended = traces.one("run")
    assert (ended.service, ended.about["starlings.outcome"]) == (
        "starlings-coordinator",
        "completed",
    )
    assert SECRET.encode() not in traces.bodies


async def test_a_failed_step_shows_its_error_and_its_undoing_hangs_on_it(services, traces):
    services.start("coordinator", "planner", ODD, UNDOABLE)
    flight = {"id": "flight", "agent": "undoable", "input": {}}
    fails = {**call("odd", "refuses", text="the room"), "depends_on": ["flight"]}
    async with services.client() as client:
        run = await client.submit(plan=[flight, fails])
        done = await run.result(timeout_s=60)
    services.stop_all()

    assert done.outcome is RunOutcome.COMPENSATED
    until_ended(traces, "run", "plan", "compensate undoable")
    plan, booked, failed, undone, ended = (
        traces.one(name)
        for name in (
            "plan",
            "invoke_agent undoable",
            "invoke_agent odd",
            "compensate undoable",
            "run",
        )
    )
    assert [span.parent_id for span in (booked, failed, undone, ended)] == [
        plan.span_id,
        booked.span_id,
        failed.span_id,
        plan.span_id,
    ]
    assert "the room is sold out" in failed.failed
    assert failed.about["starlings.outcome"] == "error"
    assert failed.about["error.type"] == done.error.code
    assert traces.one("execute_tool refuses").parent_id == failed.span_id
    assert (undone.failed, undone.about["starlings.outcome"]) == (None, "ok")
    assert ended.about["starlings.outcome"] == "compensated"
    assert "the room is sold out" in ended.failed


async def test_a_job_is_seen_waiting_across_a_crash_of_its_agent(services, traces):
    with job_server() as jobs:
        services.env["JOB_SERVER_URL"] = jobs.url
        (agent,) = services.start("coordinator", "planner", REMOTE)[2:]
        async with services.client() as client:
            run = await client.submit(
                plan=[{"id": "s1", "agent": "remote", "task": "wait"}], run_id="r1"
            )
            until_ended(traces, "invoke_agent remote")
            services.kill(agent)
            services.start(REMOTE)
            jobs.finish("r1/s1/1", "the end")
            await run.result(timeout_s=60)
        services.stop_all()

    until_ended(traces, "run", "wait remote")
    begun, waited = traces.one("invoke_agent remote"), traces.one("wait remote")
    assert begun.about["starlings.outcome"] == "waiting"
    assert waited.parent_id == begun.span_id
    assert waited.about["starlings.outcome"] == "ok"
    assert waited.took_ns > begun.took_ns


async def test_a_run_taken_up_again_after_its_end_goes_on_in_one_trace(services, traces):
    services.start("coordinator", "planner", ODD)
    async with services.client() as client:
        run = await client.submit(plan=[call("odd", "refuses", text="the room")])
        await run.result(timeout_s=60)
        await run.retry()
        wait_until_sync(
            lambda: len(traces.named("run")) == 2, timeout_s=60, message="it ends again"
        )
    services.stop_all()

    taken_up = traces.one("retry_requested")
    again = next(s for s in traces.named("invoke_agent odd") if s.about["starlings.attempt"] > 1)
    assert (again.trace_id, again.parent_id) == (taken_up.trace_id, taken_up.span_id)
    assert taken_up.span_id in {span.parent_id for span in traces.named("run")}


async def test_reactions_to_events_go_on_with_the_span_that_the_client_was_in(services, traces):
    agents = [f"{relay.__file__}:{name}" for name in ("opens", "works", "closes", "both")]
    services.start("coordinator", *agents, env=RELAY_ENV)
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    async with services.client() as client:
        with use_span(NonRecordingSpan(span)):
            await client.emit(relay.JobWanted(number=1))
        until_ended(traces, "react closes", "react both")
        await client.emit(relay.JobDone(number=2), correlation_id="alone")
        wait_until_sync(
            lambda: (
                len([s for s in traces.spans() if s.about.get("starlings.run_id") == "alone"]) == 2
            ),
            timeout_s=60,
            message="both listeners react",
        )

    opened, worked = traces.one("react opens"), traces.one("react works")
    assert (opened.trace_id, opened.parent_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert worked.parent_id == opened.span_id
    for listener in ("react closes", "react both"):
        assert traces.named(listener)[0].parent_id == worked.span_id
    one, other = (traces.one(f"react {name}", run_id="alone") for name in ("closes", "both"))
    assert (one.trace_id, one.parent_id, other.parent_id) == (other.trace_id, "", "")


async def test_a_collector_that_is_down_stops_no_run(services):
    services.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    services.start("coordinator", "planner", "math", "string")
    async with services.client() as client:
        run = await client.submit(REQUEST)
        done = await run.result(timeout_s=60)

    assert done.output == 100
    assert set(services.stop_all().values()) == {0}
