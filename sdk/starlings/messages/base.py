"""What every message has: a type, a version, tolerance for unknown fields."""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
#: No dot: templates say steps.<id>.output. The number is of an item of a step with foreach.
STEP_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_:-]{0,127}(\[\d{1,6}\])?$"
AGENT_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"

RunId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
StepId = Annotated[str, StringConstraints(pattern=STEP_PATTERN)]
AgentName = Annotated[str, StringConstraints(pattern=AGENT_PATTERN)]
VariantName = Annotated[str, StringConstraints(pattern=AGENT_PATTERN)]
SignalName = Annotated[str, StringConstraints(pattern=ID_PATTERN)]

NANO = 10**9  # parts of a dollar in which costs are counted, so that no sum depends on its order

_set = object.__setattr__
_TYPE = re.compile(r"^starlings\.([a-z_]+)\.v(\d+)$")


def is_none(value: object) -> bool:
    """Say whether an optional field is to be left out of the JSON."""
    return value is None


def is_false(value: object) -> bool:
    """Say whether a flag is to be left out of the JSON."""
    return value is False


def is_zero(value: object) -> bool:
    """Say whether a count is to be left out of the JSON."""
    return value == 0


def is_empty(value: Sized) -> bool:
    """Say whether a list is to be left out of the JSON."""
    return not value


class Model(BaseModel):
    """Base of all that travels: unknown fields are accepted, values do not change."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def trusted(cls, **values: Any) -> Self:
        """Make one of values that were checked when they were read; all fields have to be given.

        As `model_construct`, without its search for defaults, which takes most of the time there.
        """
        made = cls.__new__(cls)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_fields_set__", set(values))
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


class Message(Model):
    """A message of its own on a topic; `NAME` and `VERSION` make its CloudEvents type."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    CE_TYPE: ClassVar[str]

    def as_json(self) -> bytes:
        """Write it as it travels."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=self.leaves_nulls_out())

    def leaves_nulls_out(self) -> bool:
        """Say whether null is what a reader assumes, for every field of this one that is null.

        Those that travel with each step leave them out, which makes them a third shorter.
        """
        return False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Derive the CloudEvents type once, since it is asked for with every message."""
        super().__pydantic_init_subclass__(**kwargs)
        if hasattr(cls, "NAME"):
            cls.CE_TYPE = ce_type(cls.NAME, cls.VERSION)


def ce_type(name: str, version: int) -> str:
    """Name a message type as CloudEvents sees it, `starlings.step_done.v1`."""
    return f"starlings.{name}.v{version}"


def split_ce_type(value: str) -> tuple[str, int] | None:
    """Read a CloudEvents type back into name and version; None where it is not ours."""
    match = _TYPE.match(value)
    return (match[1], int(match[2])) if match else None
