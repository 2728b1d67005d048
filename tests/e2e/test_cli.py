"""The command line as people and scripts use it: its own process, on a running system."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from support import slow_agent
from support.sites import settings_of
from support.waiting import wait_until

from starlings.kafka.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
SLOW = f"{slow_agent.__file__}:slow"
WITHIN_S = 60.0


def slow_plan(folder: Path, *, seconds: float = 60, tool: str = "wait") -> str:
    args = {"seconds": seconds} if tool == "wait" else {}
    steps = [{"id": "a", "agent": "slow", "tool": tool, "args": args, "retry": {"attempts": 1}}]
    path = folder / "plan.json"
    path.write_text(json.dumps({"steps": steps}))
    return str(path)


async def test_a_request_is_followed_and_found_again(services, starlings):
    services.start("coordinator", "planner", "math", "string")

    ran = await starlings("run", REQUEST, "--tag", "who=me")
    assert (ran.code, ran.stderr) == (0, "")
    assert "Plan  3 steps" in ran.stdout
    assert "final: 100" in ran.stdout

    (listed,) = (await starlings("runs", "--json", "--tag", "who=me")).document
    assert (listed["status"], listed["steps"], listed["request"]) == ("completed", 3, REQUEST)
    run_id = listed["run_id"]
    assert run_id in ran.stdout

    assert (await starlings("output")).stdout == "100\n"
    assert (await starlings("output", run_id, "--step", "s2")).stdout == "2\n"
    assert (await starlings("output", "latest", "--json")).document["output"] == 100

    shown = await starlings("show", run_id)
    assert shown.code == 0
    assert "Status   completed" in shown.stdout
    assert (await starlings("show", run_id, "--json")).document["place"]["facts"] >= 5

    watched = await starlings("watch", run_id, "--json")
    facts = [json.loads(line)["type"] for line in watched.stdout.splitlines()]
    assert (facts[0], facts[-1], watched.code) == ("plan_created", "run_done", 0)

    agents = (await starlings("agents", "--json")).document
    assert {agent["agent"]: agent["alive"] for agent in agents} == {"math": True, "string": True}

    examined = await starlings("doctor", "--json")
    assert examined.code == 0, examined.stdout
    verdicts = {finding["what"]: finding["verdict"] for finding in examined.document}
    for what in ("kafka", "topics", "planner", "coordinator", "agent math", "agent string"):
        assert verdicts[what] == "ok"


async def test_a_bare_line_on_kafka_leads_to_an_output(services, starlings):
    services.start("coordinator", "planner", "math")
    connection = Connection(settings_of(services.kafka), client_id="test")
    producer = connection.producer()
    await producer.start()
    try:
        await producer.send_and_wait(services.topics.requests, b"Calculate 5 factorial")
    finally:
        await producer.stop()
    async with services.client() as client:
        runs = await wait_until(client.runs, timeout_s=WITHIN_S, message="there is a run")
        await client.run(runs[0].run_id).result(timeout_s=WITHIN_S)

    assert (await starlings("output", "latest")).stdout == "120\n"


async def test_a_run_can_be_left_watched_and_cancelled(services, starlings):
    services.start("coordinator", "planner", SLOW)
    plan = slow_plan(services.folder)

    asked = await starlings("run", "--plan", plan, "--no-wait", "--run-id", "mine")
    assert (asked.code, asked.stdout) == (0, "mine\n")
    assert "starlings watch mine" in asked.stderr

    waited = await starlings("watch", "mine", "--wait", "1s")
    assert waited.code == 5
    assert "has not ended yet" in waited.stderr
    assert (await starlings("output", "mine")).code == 5

    watching = await starlings.start("watch", "mine")
    cancelled = await starlings("cancel", "mine", "--reason", "enough")
    assert cancelled.code == 0
    assert "cancelled" in cancelled.stdout
    watched = await starlings.end(watching)
    assert watched.code == 4
    assert "enough" in watched.stdout

    again = await starlings("run", "--plan", plan, "--run-id", "mine")
    assert again.code == 4  # the same name is the same run
    assert "has ended already" in (await starlings("cancel", "mine")).stdout
    assert (await starlings("runs", "--status", "cancelled", "--json")).document


async def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(services, starlings):
    services.start("coordinator", "planner", SLOW, env={"STARLINGS_GRACE_S": "1"})
    process = await starlings.start("run", "--plan", slow_plan(services.folder))
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        async for line in process.stdout:
            if b"running" in line:
                break
    process.send_signal(signal.SIGINT)
    left = await starlings.end(process)

    assert left.code == 130
    assert "goes on" in left.stderr
    assert "starlings cancel" in left.stderr
    assert "Traceback" not in left.stderr
    (listed,) = (await starlings("runs", "--json")).document
    assert listed["status"] == "running"


async def test_exit_codes_tell_how_a_run_ended(services, starlings):
    services.start("coordinator", "planner", SLOW)

    plan = slow_plan(services.folder)
    timed_out = await starlings("run", "--plan", plan, "--timeout", "1s")
    assert timed_out.code == 5
    assert "Result  failed" in timed_out.stdout
    failing = slow_plan(services.folder, tool="fail")
    failed = await starlings("run", "--plan", failing, "--json")
    assert (failed.code, failed.document["status"]) == (1, "failed")
    assert (await starlings("output")).code == 1
    rejected = await starlings("run", "dance a waltz")
    assert rejected.code == 3
    assert (await starlings("validate", failing, "--live")).code == 0
    nobody = await starlings("show", "nobody")
    assert (nobody.code, nobody.stdout) == (2, "")
    assert "starlings runs" in nobody.stderr


async def test_topics_are_checked_and_created(services, starlings):
    services.env["STARLINGS_TOPIC_PREFIX"] = f"{services.topics.prefix}new."

    missing = await starlings("topics", "ensure", "--check")
    assert missing.code == 1
    assert "to create" in missing.stdout
    unrun = await starlings("runs")
    assert unrun.code == 2
    assert "starlings topics ensure" in unrun.stderr
    assert (await starlings("doctor")).code == 1
    assert (await starlings("topics", "ensure", "--dry-run", "--agent", "shop")).code == 0
    created = await starlings("topics", "ensure", "--agent", "shop", "--json")
    assert {change["action"] for change in created.document} == {"create"}
    assert (await starlings("topics", "check", "--agent", "shop")).code == 0
    names = {entry["topic"] for entry in (await starlings("topics", "ls", "--json")).document}
    assert f"{services.topics.prefix}new.steps.shop" in names
    more = await starlings("topics", "ensure", "--dry-run", "--agent", "knowledge", "--json")
    assert f"{services.topics.prefix}new.knowledge.main" in {c["topic"] for c in more.document}


async def test_the_doctor_says_who_is_missing_and_how_to_start_it(services, starlings):
    services.start("planner")
    examined = await starlings("doctor")
    assert examined.code == 1
    assert "ok    planner" in examined.stdout
    assert "FAIL  coordinator" in examined.stdout
    assert "python -m starlings_coordinator" in examined.stdout


async def test_an_agent_runs_as_a_service_and_stops_when_asked(services, starlings):
    services.start("coordinator", "planner")
    process = await starlings.start("agent", "run", SLOW, "--concurrency", "2", "--ensure-topics")
    try:
        async with services.client() as client:

            async def there() -> bool:
                return "slow" in (await client.registry()).alive()

            await wait_until(there, timeout_s=WITHIN_S, message="the agent is in the registry")
        ran = await starlings("run", "--plan", slow_plan(services.folder, seconds=0.1))
        assert ran.code == 0, ran
        assert "final: waited 0.1 s" in ran.stdout
        (agent,) = (await starlings("agents", "slow", "--json")).document
        assert agent["instances"][0]["concurrency"] == 2
    finally:
        process.send_signal(signal.SIGTERM)
        ended = await starlings.end(process)
    assert ended.code == 0, ended.stderr
