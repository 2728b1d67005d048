"""Running agents in one process, without a broker: for tests, notebooks and first tries.

Names are imported when they are first asked for: pytest loads a plugin of this package wherever
starlings is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .incident import Replayed, replay_incident
    from .local_choreography import LocalChain, LocalChoreography
    from .local_run import LocalRun

_HOMES = {
    "LocalChain": ".local_choreography",
    "LocalChoreography": ".local_choreography",
    "LocalRun": ".local_run",
    "Replayed": ".incident",
    "replay_incident": ".incident",
}

__all__ = ["LocalChain", "LocalChoreography", "LocalRun", "Replayed", "replay_incident"]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
