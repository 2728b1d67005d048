"""Running agents in one process, without a broker: for tests, notebooks and first tries.

Names are imported when they are first asked for: pytest loads a plugin of this package wherever
starlings is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlings.on_demand import imported_on_demand

if TYPE_CHECKING:
    from .incident import Replayed, replay_incident
    from .local_choreography import LocalChain, LocalChoreography
    from .local_run import LocalRun

__all__ = ["LocalChain", "LocalChoreography", "LocalRun", "Replayed", "replay_incident"]

__getattr__ = imported_on_demand(
    __name__,
    {
        ".incident": ("Replayed", "replay_incident"),
        ".local_choreography": ("LocalChain", "LocalChoreography"),
        ".local_run": ("LocalRun",),
    },
)
