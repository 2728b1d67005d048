"""Examples as people run them with everything: each part a process, meeting only on Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from support.example_model import EXAMPLES, offline

from starlings.messages import RunDone, RunOutcome

pytestmark = pytest.mark.kafka


def started(services: Any, example: str, *parts: str, env: Mapping[str, str] | None = None) -> None:
    """Start the system with the agents of an example, and some that come along."""
    (own,) = (EXAMPLES / example).glob("*.py")
    services.start("coordinator", "planner", str(own), *parts, env=env)


async def done(services: Any, example: str, plan: str) -> RunDone:
    asked = yaml.safe_load((EXAMPLES / example / plan).read_text(encoding="utf-8"))
    async with services.client() as client:
        run = await client.submit(asked["request"], plan=asked["plan"])
        ended = await run.result(timeout_s=120)
    assert ended.outcome is RunOutcome.COMPLETED, ended.text
    return ended


@pytest.fixture
def world(capfd: pytest.CaptureFixture[str]) -> Any:
    """Have the world outside on this machine; what Slack shows is captured."""
    with offline().outside():
        yield capfd


async def test_the_library_answers_what_it_was_taught_and_corrected(services):
    started(services, "knowledge_cqrs", "knowledge", "knowledge_query", env={
        "STARLINGS_KNOWLEDGE_STORE": str(services.folder / "store.sqlite"),
    })  # fmt: skip
    taught = await done(services, "knowledge_cqrs", "learn.yaml")
    again = await done(services, "knowledge_cqrs", "learn.yaml")
    assert taught.output == again.output
    assert "thirty thousand birds" in str(taught.output)
    asked = await done(services, "knowledge_cqrs", "ask.yaml")
    assert "No bird leads" in str(asked.output)


async def test_the_warehouse_is_reported_when_it_is_loaded(services, world):
    settings = offline().settings_of(EXAMPLES / "warehouse_report")
    started(services, "warehouse_report", "sensor", "sql", "notify", env=settings)
    ended = await done(services, "warehouse_report", "report.yaml")
    assert [step.state for step in ended.steps] == ["done"] * 5
    shown = world.readouterr().err
    assert "The best countries of 2030-05-02, 4,731.60 together\n- Norway" in shown


async def test_a_chain_of_prompts_plays_back_its_answers_in_every_process(services, world):
    settings = offline().settings_of(EXAMPLES / "prompt_chain")
    started(services, "prompt_chain", "web_search", env=settings)
    ended = await done(services, "prompt_chain", "chain.yaml")
    assert "the biggest crowd had 750,000" in str(ended.output)


async def test_a_manager_adds_the_steps_of_its_workers_to_its_own_run(services):
    started(services, "travel", env=offline().settings_of(EXAMPLES / "travel"))
    ended = await done(services, "travel", "paris.yaml")
    assert [step.step_id for step in ended.steps] == ["manage", "flight", "stay", "summary"]
    assert "317 EUR together" in str(ended.output)
