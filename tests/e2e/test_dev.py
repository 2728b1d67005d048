"""`starlings dev` as it is typed: the whole system, with all that is installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys

import pytest
from support.dev_system import dev
from support.services import Services
from support.waiting import wait_until

from starlings.agents.installed import offered_agents
from starlings.cli.scaffold import write_agent
from starlings.client import RunNotFound
from starlings.messages import RunOutcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

UNSET = {
    "sql": ({"input": {"connection": "shop", "sql": "select 1"}}, "STARLINGS_SQL_SHOP_URL"),
    "container": ({"input": {"image": "busybox"}}, "STARLINGS_CONTAINER_IMAGES"),
    "notify": (
        {"tool": "slack", "args": {"channel": "ops", "text": "hello"}},
        "STARLINGS_NOTIFY_SLACK",
    ),
}


async def agents(services: Services) -> dict[str, bool]:
    """Ask `starlings agents` who is alive."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starlings.cli", "agents", "--json"),
        env=services.env,
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        listed, _ = await process.communicate()
    return {each["agent"]: each["alive"] for each in json.loads(listed)}


PACKAGE = {
    "aviary.py": """
from starlings import Agent

wren = Agent("wren", description="Sings")

@wren.step
def sing(task: str) -> str:
    return f"{task}, sung"
""",
    "aviary-1.0.dist-info/METADATA": """Metadata-Version: 2.4
Name: aviary
Version: 1.0
Provides-Extra: wings
Requires-Dist: not-to-be-had; extra == "wings"
""",
    "aviary-1.0.dist-info/entry_points.txt": """[starlings.agents]
wren = aviary:wren
lark = aviary:lark [wings]
""",
}


@pytest.fixture
def aviary(services) -> None:
    """Another package that offers agents, of which one lacks an extra."""
    for name, text in PACKAGE.items():
        path = services.folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    services.env["PYTHONPATH"] = str(services.folder / "site")


@pytest.mark.timeout(360)
@pytest.mark.usefixtures("aviary")
async def test_all_installed_agents_are_alive_and_say_what_they_need(services):
    async with dev(services, "--all") as said:
        (left_out,) = [line for line in said if "left out" in line]
        assert "lark (needs not-to-be-had: pip install 'aviary[wings]')" in left_out
        there = ["wren", *(offer.name for offer in offered_agents())]
        assert await agents(services) == dict.fromkeys(there, True)
        async with services.client() as client:
            asked = await client.submit("Calculate 5 factorial")
            result = await asked.result(timeout_s=60)
            assert (result.outcome, result.output) == (RunOutcome.COMPLETED, 120)

            steps = [
                {"id": name, "agent": name, "retry": {"attempts": 1}, **given}
                for name, (given, _) in UNSET.items()
            ]
            run = await client.submit(plan=steps, on_failure="continue")
            failed = await run.result(timeout_s=60)
    errors = {step.step_id: step.error.message for step in failed.steps}
    for name, (_, setting) in UNSET.items():
        assert setting in errors[name]


@pytest.mark.timeout(360)
async def test_what_new_agent_writes_runs_from_its_folder_and_again_when_it_changes(services):
    for kind in ("function", "react"):
        write_agent(f"my-{kind}", kind, services.folder / kind)
    async with dev(services, "function:agent", "./react", "--no-builtin") as said:
        assert await agents(services) == {"my-function": True, "my-react": True}
        async with services.client() as client:
            assert await _reserve(client) is None
            emitted = await client.emit("order_placed", {"number": 7, "item": "worm"})
            await wait_until(
                lambda: _confirmed(emitted), timeout_s=60, message="the order is confirmed"
            )

            module = services.folder / "function" / "my_function.py"
            module.write_text(module.read_text().replace("FREE = 12", "FREE = 1"))
            await wait_until(
                lambda: _reserve(client), timeout_s=90, message="the changed code is at work"
            )
    told = "\n".join(said)
    assert "my_function.py changed: starting agent my-function again" in told
    assert "agent my-function is ready again" in told


async def _reserve(client) -> str | None:
    """Reserve two seats; tell why that did not go."""
    run = await client.submit(plan=[{"agent": "my-function", "input": {"seats": 2}}])
    (step,) = (await run.result(timeout_s=60)).steps
    return step.error and step.error.code


async def _confirmed(emitted) -> bool:
    with contextlib.suppress(RunNotFound):  # until somebody has reacted
        events = (await emitted.view()).chain.events.values()
        return any(event.type == "order_confirmed" for event in events)
    return False
