"""Who is asked: the configured model and those behind it, or a recording of their answers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from .cassette import Cassette, normalised
from .endpoint import NOWHERE, Endpoint, fallback_endpoints, resolve_model
from .fallback import ask_first
from .provider import Provider
from .question import Question
from .reply import Reply
from .settings import LlmSettings


class Line:
    """A line to a model; `endpoint` is the first one that is asked.

    Raises:
        ConfigError: nobody is configured, a key is missing, or the recording cannot be read.
    """

    def __init__(
        self, settings: LlmSettings, *, endpoint: Endpoint | None, cassette: Cassette | None
    ) -> None:
        self._settings = settings
        self._open = ExitStack()
        if cassette is None and settings.cassette is not None:
            cassette = Cassette(settings.cassette, mode=settings.cassette_mode)
        self.cassette = cassette
        if cassette is not None and cassette.replays:
            self.endpoint = _recorded(settings, cassette, endpoint)
            self._providers: list[Provider] = []
            return
        self.endpoint = endpoint or self._open.enter_context(resolve_model(settings))
        listed = [self.endpoint, *fallback_endpoints(settings, self.endpoint)]
        self._providers = [Provider(each, settings) for each in listed]

    async def aclose(self) -> None:
        """Close connections, and the offline model where there is one."""
        for provider in self._providers:
            await provider.aclose()
        self._open.close()

    async def ask(self, question: Question) -> Reply:
        """Ask once, without a look at what the answer says.

        Raises:
            ModelAway: nobody can be asked now.
            ModelFailed: the request is refused, or was not recorded.
        """
        if self.cassette is None:
            return await ask_first(self._providers, question)
        asked = normalised(question, self._settings, self.endpoint.model)
        told = False

        async def ask() -> Reply:
            nonlocal told
            told = True
            return await ask_first(self._providers, question)

        reply = await self.cassette.ask(asked, ask, self._hide)
        if question.on_text is not None and not told:
            await question.on_text("")
            await question.on_text(reply.text)
        return reply

    def _hide(self, text: str) -> str:
        for provider in self._providers:
            text = provider.endpoint.redacted(text)
        return text


def _recorded(settings: LlmSettings, cassette: Cassette, endpoint: Endpoint | None) -> Endpoint:
    named = "model" in settings.model_fields_set
    model = settings.model if named else cassette.model or settings.model
    here = endpoint or Endpoint(base_url=NOWHERE, model=model)
    return replace(here, recorded_in=str(cassette.path))
