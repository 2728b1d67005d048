"""The model clients of agents: opened when one is first asked, shared where settings are the same.

An agent that asks no model loads nothing of the client, and needs no model configured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from starlings.llm.chat import CheckCall, Turn
from starlings.llm.choice import ModelChoice
from starlings.messages import ToolDefinition, Usage

from .agent import Agent
from .model_port import AnswerPort, ModelPort

if TYPE_CHECKING:
    from starlings.llm import Cassette, LlmSettings, ModelClient


def import_models() -> None:
    """Import what asks models, where no event loop turns yet.

    That takes seconds where CPU is short, and a loop that stands still is taken for dead.
    """
    import starlings.llm.client  # noqa: PLC0415 - slow, and few need it
    import starlings.llm.completion  # noqa: PLC0415
    import starlings.llm.provider  # noqa: F401, PLC0415


class AgentModels:
    """The models of some agents; an async context manager.

    Args:
        settings: what holds for all; None: the environment.
        cassette: recorded answers, in the place of the one that the settings name.
    """

    def __init__(
        self, settings: LlmSettings | None = None, *, cassette: Cassette | None = None
    ) -> None:
        self._settings = settings
        self._cassette = cassette
        self._clients: list[tuple[LlmSettings, ModelClient]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        clients, self._clients = self._clients, []
        for _, client in clients:
            await client.aclose()

    def of(self, agent: Agent) -> ModelPort:
        """Return the model of an agent; nothing is opened yet."""
        return _LaterModel(lambda: self.client(agent.name, agent.model))

    def opened(self, agent: Agent) -> ModelPort:
        """Return the model of an agent, and say now where it is not configured rightly.

        Raises:
            ConfigError: naming the setting.
        """
        return self.client(agent.name, agent.model)

    def client(self, name: str, choice: ModelChoice | None = None) -> ModelClient:
        """Open the client of an agent, or of the planner.

        Raises:
            ConfigError: a setting is wrong; it is named.
        """
        from starlings.llm import LlmSettings, ModelClient  # noqa: PLC0415 - slow, and few need it
        from starlings.llm.cassette import Cassette  # noqa: PLC0415

        general = self._settings or LlmSettings.load()
        settings = general.for_agent(name, choice)
        for known, client in self._clients:
            if known == settings and known.model_fields_set == settings.model_fields_set:
                return client
        if self._cassette is None and settings.cassette is not None:
            self._cassette = Cassette(settings.cassette, mode=settings.cassette_mode)
        client = ModelClient(settings, cassette=self._cassette)
        client.open()
        self._clients.append((settings, client))
        return client


class _LaterModel:
    """A model whose client is opened when it is first asked."""

    def __init__(self, open_client: Callable[[], ModelClient]) -> None:
        self._open = open_client
        self._client: ModelClient | None = None

    def _opened(self) -> ModelClient:
        if self._client is None:
            self._client = self._open()
        return self._client

    @property
    def streams(self) -> bool:
        return self._opened().streams

    async def structured(
        self,
        messages: Sequence[Mapping[str, Any]],
        schema: dict[str, Any],
        *,
        name: str,
        validate: Callable[[Any], list[str]],
        adapt: Callable[[Any], Any],
        on_usage: Callable[[Usage], None],
    ) -> AnswerPort:
        return await self._opened().structured(
            messages, schema, name=name, validate=validate, adapt=adapt, on_usage=on_usage
        )

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[ToolDefinition],
        validate: CheckCall | None,
        on_text: Callable[[str], Awaitable[None]] | None,
        on_usage: Callable[[Usage], None],
    ) -> Turn:
        return await self._opened().chat(
            messages, tools=tools, validate=validate, on_text=on_text, on_usage=on_usage
        )

    def using(self, model: str, *, temperature: float | None = None) -> ModelPort:
        return self._opened().using(model, temperature=temperature)

    def for_run(self, model: str | None, *, temperature: float | None = None) -> ModelPort:
        return self._opened().for_run(model, temperature=temperature)
