"""How an agent does a step where it has no step function of its own: by a strategy.

Beside the strategies that come along (`starlings.agents.strategies`) authors may write their own:
a class below `Strategy`. Whatever a strategy asks of `ctx.model` is kept until the step ends, and
what it cost counts by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from starlings.messages import ConfigError, StepReady

from .context import StepContext
from .values import Result

if TYPE_CHECKING:
    from .agent import Agent


class Strategy(ABC):
    """A way of doing steps with a model.

    `calls_tools` says whether it needs the agent's tools; one that does not takes none. `takes` is
    the JSON Schema of the steps' `input`, for planners; None: it takes any.
    """

    calls_tools: ClassVar[bool] = False
    takes: ClassVar[dict[str, Any] | None] = None

    @abstractmethod
    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Do one attempt of a step, whose templates are resolved already.

        It may run again from its beginning after a crash, with `ctx` remembering what was asked.

        Raises:
            StepFailed: it cannot be done.
            TransientError: it may work later.
        """

    def __repr__(self) -> str:
        return type(self).__name__


def whole_number(value: object, what: str, *, least: int = 1, most: int = 1_000) -> None:
    """Refuse a limit that is none.

    Raises:
        ConfigError: naming it.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{what} has to be a whole number from {least} to {most}, not {value!r}")
