"""The record of an attempt's calls: what each gave, for whoever runs the attempt again.

It travels with the attempt's `step_done`, and so outlives the checkpoints, which end with the step.
Rules:

- At most `RECORD_BYTES` in all: what does not fit is left out, and counted.
- What an author calls secret is left out. What looks like a secret in the others is taken out of
  them, as it is out of the errors in facts.
- An error that a call raised stands in it too: a replay goes the same way as the attempt did.
- An attempt that keeps nothing has no record, and pays for none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json

from starlings.llm.redaction import without_secrets
from starlings.messages import ErrorInfo, KeptAnswers, StepFailed

from .failures import described

RECORD_BYTES = 64 * 1024
HANDLE = "starlings:handle"  # under which the record of a job or sensor has its handle
_SURELY_FLAT = 150  # opening brackets
_WRAP = 8  # levels around an answer in a message, with room to spare; the parser takes 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What kind of call it is, for who judges whether it may be made in a replay.

    Attributes:
        kind: a model is asked, a tool called, or whatever else an author wants made once.
        tool: its name, where it is a tool's.
        args: of that tool.
        idempotent: whether the author says that repeating it does no harm.
        secret: whether its answer must not stand in the record.
    """

    kind: Literal["call", "model", "tool"] = "call"
    tool: str = ""
    args: Mapping[str, Any] | None = None
    idempotent: bool = False
    secret: bool = False

    @property
    def has_effect(self) -> bool:
        """Whether making it again might do something a second time."""
        return self.kind != "model" and not self.idempotent


A_CALL, A_SECRET, A_MODEL = Asked(), Asked(secret=True), Asked("model")


class CallRefused(StepFailed):
    """A replay does not let a call be made: that ends the attempt, and is no model's to mend."""


class CallRecord:
    """Collects what the calls of one attempt gave."""

    def __init__(self) -> None:
        self._answers: dict[str, JsonValue] = {}
        self._failures: dict[str, ErrorInfo] = {}
        self._tools: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._room = RECORD_BYTES

    def add(self, name: str, answer: JsonValue, asked: Asked) -> None:
        """Note what a call gave."""
        if name in self._answers:
            return
        if asked.secret:
            self._left_out.add(name)
            return
        self._failures.pop(name, None)  # it was made again, and has come to something
        answer, size = _fit(answer)
        if self._takes(name, size, asked):
            self._answers[name] = answer

    def failed(self, name: str, error: Exception, asked: Asked) -> None:
        """Note what a call raised."""
        info = described(error)
        message, size = _fit(info.message)
        if not asked.secret and self._takes(name, size, asked):
            self._failures[name] = info.model_copy(update={"message": message, "causes": []})

    def told(self) -> KeptAnswers:
        """Say it as it travels."""
        return KeptAnswers(
            answers=self._answers,
            failures=self._failures,
            tools=self._tools,
            left_out=len(self._left_out),
        )

    def _takes(self, name: str, size: int, asked: Asked) -> bool:
        tool = digest_of(asked.tool, asked.args or {}) if asked.kind == "tool" else ""
        size += len(name) * (2 if tool else 1) + len(tool)
        if size > self._room:
            self._left_out.add(name)
            return False
        self._room -= size
        if tool:
            self._tools[name] = tool
        return True


def handle_record(handle: JsonValue) -> CallRecord:
    """Make the record of a job or sensor: the handle by which it was looked at last."""
    record = CallRecord()
    record.add(HANDLE, handle, A_CALL)
    return record


def digest_of(tool: str, args: Mapping[str, Any]) -> str:
    """Name the calls of a tool with the same arguments."""
    text = json.dumps(args, sort_keys=True, default=str)
    return f"{tool}:{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _fit(answer: JsonValue) -> tuple[JsonValue, int]:
    """Take secrets out of an answer, and measure it; what no reader could read has no room."""
    try:
        if len(to_json(answer)) > RECORD_BYTES:  # not worth a search for secrets
            return None, RECORD_BYTES + 1
        answer = without_secrets(answer)
        data = to_json(answer)
        if data.count(b"[") + data.count(b"{") > _SURELY_FLAT:
            from_json(b"[" * _WRAP + data + b"]" * _WRAP)
    except (PydanticSerializationError, ValueError, RecursionError):
        return None, RECORD_BYTES + 1
    return answer, len(data)
