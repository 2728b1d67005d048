"""Language models: one client for any server that speaks the OpenAI chat protocol.

Whatever a server promised, an answer counts only once it was parsed and validated here. The names
below are loaded when they are first used: `starlings.llm.prompts` works without the `llm` extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cassette import Cassette
    from .choice import Fallback, ModelChoice, Price
    from .client import Answer, ModelClient
    from .endpoint import Endpoint, configured_endpoint, resolve_model
    from .errors import ModelAway, ModelFailed
    from .prompt_file import Prompt
    from .settings import LlmSettings

_MODULES = {
    "Answer": "client",
    "Cassette": "cassette",
    "Fallback": "choice",
    "ModelChoice": "choice",
    "Price": "choice",
    "ModelClient": "client",
    "Endpoint": "endpoint",
    "configured_endpoint": "endpoint",
    "resolve_model": "endpoint",
    "ModelAway": "errors",
    "ModelFailed": "errors",
    "Prompt": "prompt_file",
    "LlmSettings": "settings",
}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
