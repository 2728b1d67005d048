"""The function that undoes an agent's steps: which of its parameters gets what.

One parameter, whatever it is called, gets what the step returned (or what was recorded instead),
validated as its annotation says. A `StepContext` gets the context. Both may be left out. A function
that has no parameter, or whose parameter may be None, also undoes attempts of which nobody knows
what they have done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from starlings.messages import StepFailed

from .context import StepContext
from .signatures import NO_VALUE, adapter, agent_error, listed_problems, read_signature
from .threads import call
from .tools import as_result
from .values import Result


class CompensationFunction:
    """One function that undoes a step."""

    def __init__(self, function: Callable[..., Any], *, agent: str) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        what = f"compensation {name!r} of agent {agent!r}"
        self._function = function
        self._agent = agent
        self._signature = read_signature(function, what)
        parameters = self._signature.parameters
        if len(parameters) > 1:
            raise agent_error(
                f"{what}: it takes at most one parameter (what the step returned) and one "
                "StepContext; let the step return all that is needed to undo it"
            )
        self._takes = parameters[0] if parameters else None
        self._adapter: TypeAdapter[Any] | None = None
        if self._takes is not None:
            where = f"{what}, parameter {self._takes.name!r}"
            self._adapter = adapter(self._takes.annotation, where)

    @property
    def takes_unknown(self) -> bool:
        """Whether it can undo an attempt of which nobody knows what it returned."""
        if self._takes is None or self._adapter is None or self._takes.default is not NO_VALUE:
            return True
        try:
            self._adapter.validate_json(b"null")
        except ValidationError:
            return False
        return True

    async def run(self, given: JsonValue, ctx: StepContext) -> Result:
        """Undo a step.

        Raises:
            StepFailed: `input_invalid`, `output_invalid` or `output_not_json`.
            Exception: whatever the function itself raised.
        """
        kwargs = self._read(given)
        if self._signature.context is not None:
            kwargs[self._signature.context] = ctx
        returned = await call(self._function, kwargs)
        self._signature.check_return(returned)
        return as_result(returned, f"the output of {self._signature.what}")

    def _read(self, given: JsonValue) -> dict[str, Any]:
        if self._takes is None or self._adapter is None:
            return {}
        if given is None and self._takes.default is not NO_VALUE:
            return {}
        try:
            return {self._takes.name: self._adapter.validate_json(to_json(given))}
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise StepFailed(
            f"agent {self._agent!r} undoes another kind of result: {listed_problems(problems)}; "
            f"{self._takes.name!r} of its @agent.compensate has to take what its step returns, "
            "also what older versions of it returned",
            code="input_invalid",
        )
