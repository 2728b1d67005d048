"""What an agent does beside its steps: begun and ended with its instance."""

from __future__ import annotations

import asyncio

import pytest

from starlings import Agent
from starlings.agents.alongside import alongside
from starlings.messages import ConfigError


async def test_it_begins_with_the_instance_and_is_cancelled_at_its_end():
    agent, said = Agent("test", description="Tests"), []
    begun = asyncio.Event()

    @agent.alongside
    async def watch() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            said.append("ended")

    @agent.alongside
    async def once() -> None:
        said.append("done")

    async with alongside([agent]):
        await begun.wait()
        assert said in ([], ["done"])
    assert sorted(said) == ["done", "ended"]


async def test_what_it_raises_ends_the_instance():
    agent = Agent("test", description="Tests")

    @agent.alongside
    async def fails() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        async with alongside([agent]):
            await asyncio.Event().wait()


def test_only_an_async_function_without_arguments_is_taken():
    agent = Agent("test", description="Tests")
    for wrong in (lambda: None, asyncio.sleep):
        with pytest.raises(ConfigError, match="async function without arguments"):
            agent.alongside(wrong)
