"""Language models: one client for any server that speaks the OpenAI chat protocol.

Whatever a server promised, an answer counts only once it was parsed and validated here. The names
below are loaded when they are first used: `starlings.llm.prompts` works without the `llm` extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlings.on_demand import imported_on_demand

if TYPE_CHECKING:
    from .cassette import Cassette
    from .choice import Fallback, ModelChoice, Price
    from .client import Answer, ModelClient
    from .endpoint import Endpoint, configured_endpoint, resolve_model
    from .errors import ModelAway, ModelFailed
    from .prompt_file import Prompt
    from .settings import LlmSettings

__all__ = [
    "Answer",
    "Cassette",
    "Endpoint",
    "Fallback",
    "LlmSettings",
    "ModelAway",
    "ModelChoice",
    "ModelClient",
    "ModelFailed",
    "Price",
    "Prompt",
    "configured_endpoint",
    "resolve_model",
]

__getattr__ = imported_on_demand(
    __name__,
    {
        ".cassette": ("Cassette",),
        ".choice": ("Fallback", "ModelChoice", "Price"),
        ".client": ("Answer", "ModelClient"),
        ".endpoint": ("Endpoint", "configured_endpoint", "resolve_model"),
        ".errors": ("ModelAway", "ModelFailed"),
        ".prompt_file": ("Prompt",),
        ".settings": ("LlmSettings",),
    },
)
