"""Telling how work has ended, for as long as it takes; an end that cannot be sent is an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from starlings.kafka.execution import Refused
from starlings.kafka.until_taken import until_taken
from starlings.messages import CompensationDone, StarlingsError, StepDone, StepOutcome, error_info

End = TypeVar("End", bound=StepDone | CompensationDone)


async def tell_end(say: Callable[[End], Awaitable[None]], end: End) -> None:
    """Publish an end until it is acknowledged.

    One that no reader could read, or that is larger than Kafka takes, becomes an error which says
    so: whoever waits for the step has to hear of something.

    Raises:
        Refused: not even that can be sent.
    """
    what = f"{end.NAME} of {end.run_id}/{end.step_id}/{end.attempt}"
    try:
        await until_taken(lambda: say(end), what=what)
    except StarlingsError as error:
        bare = _without_result(end, error)
        try:
            await until_taken(lambda: say(bare), what=what)
        except StarlingsError as again:
            raise Refused(str(again), code=again.code) from again


def _without_result(end: End, error: StarlingsError) -> End:
    failed: dict[str, Any] = {"outcome": StepOutcome.ERROR, "output": None, "summary": None}
    if end.NAME == StepDone.NAME:
        failed |= {"compensation": None, "calls": []}
    failed["error"] = error_info(error)
    return cast("End", end.model_copy(update=failed))
