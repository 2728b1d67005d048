"""Tools: functions that a model, a plan or a person can call with named arguments.

A tool's JSON Schema comes from its signature and docstring. Arguments are validated and coerced
against the signature ("5" and 5.0 are 5 for an `int`), and everything wrong with them is reported
at once. What a tool returns must be JSON and fit its annotation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json

from starlings.messages import Amendment, Compensation, StepFailed, ToolDefinition, Usage
from starlings.telemetry import inner_span

from .context import StepContext
from .signatures import NO_VALUE, Parameter, Signature, adapter, agent_error, read_signature
from .threads import call
from .values import Result, clean_text, json_value

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_VALUE_SHOWN = 60


class Tool:
    """A function with a name, a description and a schema."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        agent: str,
        name: str | None = None,
        description: str | None = None,
        idempotent: bool = False,
    ) -> None:
        self.idempotent = idempotent
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        what = f"tool {self.name!r} of agent {agent!r}"
        if not NAME_PATTERN.fullmatch(self.name):
            raise agent_error(
                f"{what}: the name has to consist of letters, digits, '_' or '-' (64 at most) and "
                "begin with a letter or '_'; give another one with tool(name=…)"
            )
        self._function = function
        self._signature = read_signature(function, what)
        self.description = (description or self._signature.description).strip()
        if not self.description:
            raise agent_error(
                f"{what} has no description; write a docstring, since that is what models read"
            )
        self._arguments = _arguments_model(self._signature)
        self._described = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": self.name}

    @property
    def definition(self) -> ToolDefinition:
        """The tool as models and validators see it."""
        schema = self._arguments.model_json_schema(
            by_alias=True, schema_generator=_WithoutTitles, mode="validation"
        )
        parameters = {k: v for k, v in schema.items() if k not in {"title", "description"}}
        parameters.setdefault("properties", {})
        return ToolDefinition(
            name=self.name,
            description=self.description,
            parameters=parameters,
            idempotent=self.idempotent,
        )

    def problems(self, args: Mapping[str, Any], *, unknown: Collection[str] = ()) -> list[str]:
        """List all that is wrong with arguments; those named in `unknown` will be known later."""
        known = {name: value for name, value in args.items() if name not in unknown}
        try:
            self._read(known)
        except ValidationError as error:
            return [
                self._describe(e)
                for e in error.errors(include_url=False, include_context=False)
                if not (e["type"] == "missing" and e["loc"] and e["loc"][0] in unknown)
            ]
        except Exception as error:  # an author's own validator
            return [f"{self.name}: {type(error).__name__}: {error}"]
        return []

    async def call(self, args: Mapping[str, Any], ctx: StepContext) -> Result:
        """Call the tool.

        Raises:
            StepFailed: `arguments_invalid`, `output_invalid` or `output_not_json`.
            Exception: whatever the tool itself raised.
        """
        with inner_span(f"execute_tool {self.name}", attributes=self._described):
            return await self._call(args, ctx)

    async def _call(self, args: Mapping[str, Any], ctx: StepContext) -> Result:
        try:
            read = self._read(args)
        except Exception:  # also what an author's own validator raises
            problems = "; ".join(self.problems(args))
            raise StepFailed(problems, code="arguments_invalid") from None
        names = self._arguments.model_fields
        kwargs = {field.alias or name: getattr(read, name) for name, field in names.items()}
        if self._signature.context is not None:
            kwargs[self._signature.context] = ctx
        returned = await call(self._function, kwargs)
        self._signature.check_return(returned)
        return as_result(returned, f"the output of {self._signature.what}")

    def _read(self, args: Mapping[str, Any]) -> BaseModel:
        # As JSON, since that is what arguments are: dates are text, whatever a model's strictness.
        return self._arguments.model_validate_json(to_json(args))

    def _describe(self, error: Any) -> str:
        name = ".".join(str(part) for part in error["loc"]) or "arguments"
        names = [str(field.alias) for field in self._arguments.model_fields.values()]
        if error["type"] == "extra_forbidden":
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            return f"{self.name}: there is no argument {name!r}; {takes}"
        if error["type"] == "missing":
            return f"{self.name}: the argument {name!r} is missing"
        value = clean_text(repr(error["input"]))
        shown = value if len(value) <= _VALUE_SHOWN else value[:_VALUE_SHOWN] + "…"
        said = error["msg"].removeprefix("Value error, ")
        return f"{self.name}: {name!r}: {said} (it is {shown})"


def as_result(returned: Any, what: str) -> Result:
    """Wrap what a function returned, its output checked and as its readers will see it.

    Raises:
        StepFailed: `output_not_json`, `output_too_large` or `output_invalid`.
    """
    if not isinstance(returned, Result):
        return Result(output=json_value(returned, what))
    given = returned
    for name, fits, wanted in (
        ("summary", isinstance(given.summary, str | None), "text"),
        ("usage", isinstance(given.usage, Usage | None), "starlings.messages.Usage"),
        ("amend", isinstance(given.amend, Amendment | None), "starlings.messages.Amendment"),
        ("replan", isinstance(given.replan, str | None), "str"),
        ("undo", isinstance(given.undo, Compensation | bool), "True, False or a Compensation"),
    ):
        if not fits:
            raise StepFailed(
                f"{what}: its {name} of type {type(getattr(given, name)).__name__} has to be "
                f"{wanted}",
                code="output_invalid",
            )
    if isinstance(given.undo, Compensation):
        json_value(given.undo, f"what undoes {what}")
    return replace(given, output=json_value(given.output, what))


class _WithoutTitles(GenerateJsonSchema):
    """Titles repeat names; models pay for each word."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False


def _arguments_model(signature: Signature) -> type[BaseModel]:
    # Aliases carry the names: an argument may be called `copy`, `schema` or `_x`, a field may not.
    fields: dict[str, Any] = {
        f"argument_{index}": _field(parameter, signature.what)
        for index, parameter in enumerate(signature.parameters)
    }
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, protected_namespaces=())
    try:
        model = create_model("Arguments", __config__=config, **fields)
        model.model_json_schema(by_alias=True)
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        raise agent_error(
            f"{signature.what}: its parameters cannot be described: {error}"
        ) from None
    return model


def _field(parameter: Parameter, what: str) -> tuple[Any, Any]:
    adapter(parameter.annotation, f"{what}, parameter {parameter.name!r}")
    about: dict[str, Any] = {"alias": parameter.name}
    if parameter.description:
        about["description"] = parameter.description
    if parameter.default is not NO_VALUE:
        about["default"] = parameter.default
    return parameter.annotation, Field(**about)
