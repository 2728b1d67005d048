"""Reading the signature and docstring of an author's function, with clear words where it cannot be.

Everything is checked when the function is registered, so that a mistake shows at import and not in
the middle of a run. A parameter annotated with `StepContext` is ours to fill; all others are the
caller's.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import docstring_parser
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from starlings.messages import ConfigError, StepFailed

from .context import StepContext
from .values import Result

NO_VALUE = inspect.Parameter.empty
_PROBLEMS_SHOWN = 20
_SPREAD = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
Returns = Callable[[Any], None]


@dataclass(frozen=True)
class Parameter:
    """One parameter that the caller fills."""

    name: str
    annotation: Any
    default: Any = NO_VALUE
    description: str | None = None


@dataclass(frozen=True)
class Signature:
    """What is known of a function: how to fill it, and how to check what it returns."""

    what: str
    description: str
    parameters: tuple[Parameter, ...]
    context: str | None
    check_return: Returns
    returns: Any = NO_VALUE


def agent_error(message: str) -> ConfigError:
    """Say what is wrong with the definition of an agent."""
    return ConfigError(message, code="agent_invalid")


def read_signature(
    function: Callable[..., Any], what: str, *, context_type: type = StepContext
) -> Signature:
    """Read a function; `what` names it in errors, `context_type` is for us to fill.

    Raises:
        ConfigError: naming the parameter, and what to do.
    """
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise agent_error(f"{what} is a generator; return a value instead of yielding")
    hints = _hints(function, what)
    doc = docstring_parser.parse(inspect.getdoc(function) or "", docstring_parser.Style.GOOGLE)
    described = {p.arg_name: p.description for p in doc.params if p.description}
    context: str | None = None
    parameters: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        _refuse_unusable(parameter, hints, what)
        annotation = hints[parameter.name]
        if annotation is context_type:
            context = parameter.name
        else:
            words = " ".join((described.get(parameter.name) or "").split()) or None
            parameters.append(Parameter(parameter.name, annotation, parameter.default, words))
    return Signature(
        what=what,
        description=(doc.description or "").strip(),
        parameters=tuple(parameters),
        context=context,
        check_return=_return_check(hints.get("return", Any), what),
        returns=hints.get("return", NO_VALUE),
    )


def adapter(annotation: Any, what: str, *, config: ConfigDict | None = None) -> TypeAdapter[Any]:
    """Make a validator for an annotation.

    Raises:
        ConfigError: the annotation is nothing that can be validated.
    """
    try:
        try:
            return TypeAdapter(annotation, config=config)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":  # a model brings its own configuration
                raise
            return TypeAdapter(annotation)
    except (PydanticUserError, TypeError, NameError) as error:
        raise agent_error(f"{what}: cannot validate {_name(annotation)}: {error}") from None


def listed_problems(problems: Sequence[Mapping[str, Any]]) -> str:
    """Write what a validator found wrong with an input as one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in p['loc']) or 'input'}: {p['msg']}"
        for p in problems[:_PROBLEMS_SHOWN]
    )


def _hints(function: Callable[..., Any], what: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # annotations are code: anything may happen
        raise agent_error(
            f"{what}: cannot read its annotations: {type(error).__name__}: {error}; "
            "the types have to be defined or imported at module level"
        ) from None


def _refuse_unusable(parameter: inspect.Parameter, hints: dict[str, Any], what: str) -> None:
    name = parameter.name
    if parameter.kind in _SPREAD:
        raise agent_error(
            f"{what}: {_SPREAD[parameter.kind]}{name} cannot be described to a caller; "
            "name each parameter, or take one list"
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise agent_error(f"{what}: {name} is positional-only; arguments are given by name")
    if name not in hints:
        raise agent_error(f"{what}: parameter {name!r} has no annotation; write {name}: <type>")
    if isinstance(parameter.default, FieldInfo):
        raise agent_error(f"{what}: write {name!r} as Annotated[<type>, Field(…)] = <default>")


def _return_check(annotation: Any, what: str) -> Returns:
    wanted, may_wrap = _without_result(annotation)
    if wanted is Any:
        return _anything
    expected = adapter(wanted, what, config=ConfigDict(arbitrary_types_allowed=True))

    def check(returned: Any) -> None:
        if isinstance(returned, Result):
            if may_wrap:
                return
            returned = returned.output
        try:
            expected.validate_python(returned, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StepFailed(
                f"{what} returned {_short_type(returned)} where its annotation says "
                f"{_name(wanted)}: {where + ': ' if where else ''}{first['msg'].lower()}",
                code="output_invalid",
            ) from None

    return check


def _anything(_value: Any) -> None:
    """Accept any value: nothing was promised."""


def _without_result(annotation: Any) -> tuple[Any, bool]:
    """Split `Result` off an annotation: what is left, and whether it was there."""
    if annotation is Result:
        return Any, True
    if typing.get_origin(annotation) not in {Union, types.UnionType}:
        return annotation, False
    parts = typing.get_args(annotation)
    others = tuple(part for part in parts if part is not Result)
    return (Union[others], True) if len(others) < len(parts) else (annotation, False)  # noqa: UP007


def _short_type(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _name(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
