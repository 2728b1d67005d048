"""Agents in processes of their own that hear each other's events, and nobody who commands them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import relay
from support.asking import bare_producer, dead_letters, records_in
from support.awkward import EFFECTS
from support.pages import unwrapped
from support.services import Services
from support.waiting import wait_until, wait_until_sync

from starlings.client import Client, RunNotFound
from starlings.client.view import CHOREOGRAPHY
from starlings.messages import header

pytestmark = pytest.mark.kafka

TICKETS = str(Path(__file__).parents[2] / "examples" / "support_tickets" / "tickets.py")
RELAY = str(Path(relay.__file__))
RUNS = 20
ENV = {"PYTHONPATH": str(Path(relay.__file__).parents[1])}
WITHIN_S = 60.0


async def chain_of(client: Client, run_id: str, *agents: str):
    """Wait until agents have reacted in a run, and return its chain."""

    async def complete():
        try:
            view = await client.run(run_id).view()
        except RunNotFound:
            return None
        reacted = {name for event in view.chain.events.values() for name in event.reactions}
        return view if reacted >= set(agents) else None

    view = await wait_until(complete, timeout_s=WITHIN_S, message=f"{agents} react in {run_id}")
    assert view.status == CHOREOGRAPHY
    return view.chain


async def run_command(services: Services, *argv: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "starlings.cli", *argv],
        env=services.env,
        cwd=services.folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(services: Services, what: str) -> list[list[str]]:
    """Read what agents have noted: number and event id."""
    file = services.folder / EFFECTS
    found = (line.split() for line in file.read_text().splitlines()) if file.exists() else []
    return [rest for first, *rest in found if first == what]


async def test_a_ticket_finds_its_way_through_three_processes_and_is_drawn(services):
    services.start(*(f"{TICKETS}:{name}" for name in ("support", "technical", "notification")))
    ticket = {"number": 7, "customer": "Ada", "text": "my screen is black"}
    run_id = (await run_command(services, "emit", "ticket_created", json.dumps(ticket))).strip()
    async with services.client() as client:
        chain = await chain_of(client, run_id, "support", "technical", "notification")

    assert [(depth, event.type) for depth, event in chain.walk()] == [
        (0, "ticket_created"),
        (1, "repair_needed"),
        (2, "ticket_solved"),
        (3, "customer_notified"),
    ]
    shown = unwrapped(await run_command(services, "show", run_id))
    for word in ("ticket_created", "✓ support", "✓ technical", "✓ notification", "Dear Ada"):
        assert word in shown
    document = json.loads(await run_command(services, "show", run_id, "--json"))
    assert [event["type"] for event in document["events"]][-1] == "customer_notified"
    agents = json.loads(await run_command(services, "agents", "--json"))
    heard = {agent["agent"]: (agent["listens"], agent["takes_steps"]) for agent in agents}
    assert heard["technical"] == (["repair_needed"], False)
    assert json.loads(await run_command(services, "runs", "--json")) == []


async def test_a_bare_producer_starts_a_chain_and_a_bad_event_is_put_aside(services):
    services.start(TICKETS)  # all three in one process
    topic = services.topics.facts("ticket_created")
    async with bare_producer(services) as producer:
        await producer.send_and_wait(topic, b"my screen is black", key=b"bad")
        await producer.send_and_wait(
            topic, b'{"number": 1, "customer": "Bob", "text": "Password?"}', key=b"ticket-1"
        )
    async with services.client() as client:
        chain = await chain_of(client, "ticket-1", "support", "notification")
        assert len(chain.events) == 3
        (bad,) = (await chain_of(client, "bad", "support")).events.values()
    assert bad.reactions["support"].error.code == "event_invalid"
    (dead,) = await dead_letters(services)
    assert dead.value == b"my screen is black"


async def test_an_agent_killed_in_the_chain_loses_and_doubles_no_event(services):
    programs = {name: f"{RELAY}:{name}" for name in ("opens", "works", "closes")}
    names = services.start(*programs.values(), env=ENV)
    async with services.client() as client:
        runs = [
            await client.emit("job_wanted", {"number": n, "held": n % 2 == 1}) for n in range(RUNS)
        ]
        wait_until_sync(
            lambda: len(lines(services, "began")) >= RUNS // 4,
            timeout_s=WITHIN_S,
            message="jobs have been begun",
        )
        services.kill(names[1])
        (services.folder / relay.GATE).touch()
        services.start(programs["works"], env=ENV)
        for run in runs:
            await chain_of(client, run.run_id, "opens", "works", "closes")

    for kind in ("job_wanted", "job_opened", "job_done"):
        records = await records_in(services, [services.topics.facts(kind)])
        assert len({header(record.headers, "ce_id") for record in records}) == RUNS
    closed = Counter(number for number, _ in lines(services, "closed"))
    assert closed == {str(number): 1 for number in range(RUNS)}
    keys = {(number, ident) for number, ident in lines(services, "began")}
    assert len(keys) == RUNS  # what was begun twice was begun under the same id
    assert await dead_letters(services) == []


async def test_an_event_can_be_told_again_under_its_id_and_belong_to_a_named_run(services):
    services.start(*(f"{RELAY}:{name}" for name in ("opens", "works")), env=ENV)
    async with services.client() as client:
        for _ in range(3):
            handle = await client.emit(
                relay.JobWanted(number=1), correlation_id="order-7", event_id="once"
            )
        await client.emit("job_wanted", {"number": 2}, correlation_id="order-7", event_id="last")
        await chain_of(client, "order-7", "opens", "works")
        wait_until_sync(
            lambda: len(lines(services, "did")) == 2, timeout_s=WITHIN_S, message="both are done"
        )
        assert handle.run_id == "order-7"
    assert lines(services, "opened") == [["1", "once"], ["2", "last"]]
    assert set(services.stop_all().values()) == {0}


async def test_one_agent_takes_steps_and_reacts_and_a_planned_run_can_hold_events(services):
    services.start("coordinator", "planner", f"{RELAY}:both", env=ENV)
    async with services.client() as client:
        plan = [{"id": "s", "agent": "both", "task": "say it"}]
        run = await client.submit(plan=plan, run_id="planned")
        assert (await run.result(timeout_s=WITHIN_S)).output == "SAY IT"
        await client.emit(relay.JobDone(number=1), correlation_id="planned")
    shown = json.loads(await run_command(services, "agents", "both", "--json"))[0]
    assert (shown["takes_steps"], shown["listens"], shown["alive"]) == (True, ["job_done"], True)
    wait_until_sync(lambda: lines(services, "heard"), timeout_s=WITHIN_S, message="it hears")
    assert set(services.stop_all().values()) == {0}
