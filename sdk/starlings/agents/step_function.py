"""An agent that is one function: which of its parameters gets what of a step.

A `str` gets the task's text, with the results of earlier steps before it as a block of data. A
parameter of another type gets the step's `input`, validated; where the step has none, the task's
text if that is JSON. A `StepContext` gets the attempt's context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from starlings.choreography.context import render_task
from starlings.messages import StepFailed, StepReady

from .context import StepContext
from .signatures import NO_VALUE, Parameter, adapter, agent_error, listed_problems, read_signature
from .threads import call
from .tools import as_result
from .values import Result


class StepFunction:
    """One function that does a step."""

    def __init__(self, function: Callable[..., Any], *, agent: str) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        what = f"step {name!r} of agent {agent!r}"
        self._function = function
        self._agent = agent
        self._signature = read_signature(function, what)
        texts = [p for p in self._signature.parameters if _is_text(p.annotation)]
        others = [p for p in self._signature.parameters if not _is_text(p.annotation)]
        if len(texts) > 1 or len(others) > 1:
            raise agent_error(
                f"{what}: it takes at most one str (the task), one parameter of another type (the "
                "step's input) and one StepContext; put several values into one Pydantic model"
            )
        self._task = texts[0] if texts else None
        self._input = others[0] if others else None
        self._input_adapter: TypeAdapter[Any] | None = None
        self.takes: dict[str, Any] | None = None
        if self._input is not None:
            where = f"{what}, parameter {self._input.name!r}"
            self._input_adapter = adapter(self._input.annotation, where)
            self.takes = _schema(self._input_adapter, where)

    async def run(self, ready: StepReady, ctx: StepContext) -> Result:
        """Do the step.

        Raises:
            StepFailed: `input_invalid`, `output_invalid` or `output_not_json`.
            Exception: whatever the function itself raised.
        """
        returned = await self.call(ready, ctx)
        self.check_return(returned)
        return as_result(returned, f"the output of {self._signature.what}")

    async def call(self, ready: StepReady, ctx: StepContext) -> Any:
        """Call the function and return what it returned, unchecked.

        Raises:
            StepFailed: `input_invalid`.
            Exception: whatever the function itself raised.
        """
        kwargs = self.arguments(ready)
        if self._signature.context is not None:
            kwargs[self._signature.context] = ctx
        return await call(self._function, kwargs)

    def check_return(self, returned: Any) -> None:
        """Hold what the function returned against its annotation.

        Raises:
            StepFailed: `output_invalid`.
        """
        self._signature.check_return(returned)

    def arguments(self, ready: StepReady) -> dict[str, Any]:
        """Read out of a step what the function takes, apart from the context.

        Raises:
            StepFailed: `input_invalid`, or `unknown_tool`.
        """
        if ready.tool is not None:
            raise StepFailed(
                f"agent {self._agent!r} is one function and has no tool {ready.tool!r}; "
                "leave `tool` and `args` out, and give `task` or `input`",
                code="unknown_tool",
            )
        kwargs: dict[str, Any] = {}
        if self._task is not None:
            kwargs[self._task.name] = render_task(ready)
        if self._input is not None:
            kwargs |= self._read_input(self._input, ready)
        return kwargs

    def _read_input(self, parameter: Parameter, ready: StepReady) -> dict[str, Any]:
        if self._input_adapter is None:
            raise RuntimeError("a parameter for the input always has its adapter")
        given = ready.input is not None
        if not given and parameter.default is not NO_VALUE and self._task is not None:
            return {}
        data = to_json(ready.input) if given or self._task is not None else ready.task.encode()
        try:
            return {parameter.name: self._input_adapter.validate_json(data)}
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
        if (
            not given
            and parameter.default is not NO_VALUE
            and problems[0]["type"] == "json_invalid"
        ):
            return {}
        raise self._input_error(problems, given=given)

    def _input_error(self, problems: list[Any], *, given: bool) -> StepFailed:
        if not given and problems[0]["type"] == "json_invalid":
            listed = "the step has none, and its task is no JSON"
        else:
            listed = listed_problems(problems)
        return StepFailed(
            f"agent {self._agent!r} needs a structured input: {listed}; "
            "its shape stands under `takes` in the agent's definition",
            code="input_invalid",
        )


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation is str


def _schema(adapter_: TypeAdapter[Any], where: str) -> dict[str, Any]:
    try:
        return adapter_.json_schema()
    except PydanticUserError as error:
        raise agent_error(f"{where}: it has no JSON Schema: {error}") from None
