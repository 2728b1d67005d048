"""A request for a run, and what people type into `requests`, read leniently.

Accepted: a bare line of text, a JSON string, `{"request": "…"}` with any of the other fields of
`run_requested`, and a plan by itself (`{"steps": […]}`, or just the list of steps).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, ValidationError
from pydantic_core import from_json

from .base import AgentName, Message, RunId, VariantName, is_none
from .errors import UndecodableMessage
from .plan import (
    UNDO_QUEUE_S,
    Budget,
    FailurePolicy,
    ModelOverride,
    RetryPolicy,
    RunOptions,
    Share,
    Timeouts,
)

REQUEST_LIMIT_BYTES = 256 * 1024
_ACCEPTED = (
    'a line of text, {"request": "…"}, {"plan": {"steps": […]}} or {"steps": […]} is accepted'
)


class RunRequested(Message):
    """A client asks for a run: in plain words, or with a plan of its own."""

    NAME: ClassVar[str] = "run_requested"

    request: str = ""
    plan: Any = Field(
        default=None,
        description="a plan of its own (see plan_created) or its short form; the planner checks it",
    )
    run_id: RunId | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    max_parallel: int | None = None
    on_failure: FailurePolicy | None = None
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    timeout_s: float | None = Field(default=None, gt=0)
    deadline: AwareDatetime | None = None
    undo_queue_s: float | None = Field(default=None, gt=0, description="None: an hour")
    budget: Budget | None = Field(default=None, exclude_if=is_none)
    max_replans: int | None = Field(
        default=None, ge=0, le=100, exclude_if=is_none, description="None: 2"
    )
    replan_timeout_s: float | None = Field(
        default=None, gt=0, le=86_400, exclude_if=is_none, description="None: 120"
    )
    routing: dict[AgentName, dict[VariantName, Share]] | None = None
    model: ModelOverride | None = Field(
        default=None, exclude_if=is_none, description="how the models of its steps are asked"
    )

    def options(self) -> RunOptions:
        """Collect the run's choices, with defaults for what was left out."""
        names = RunOptions.model_fields.keys()
        said = {n: v for n in names if (v := getattr(self, n)) is not None}
        return RunOptions(**{"undo_queue_s": UNDO_QUEUE_S} | said)


def read_request(value: bytes) -> RunRequested:
    """Read a request as a person or a program wrote it.

    Raises:
        UndecodableMessage: `not_utf8`, `not_json`, `too_large`, `empty_request` or `bad_request`.
    """
    try:
        text = value.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UndecodableMessage(
            f"the request is not UTF-8 (byte {error.start}); send text as UTF-8", code="not_utf8"
        ) from None
    data = _data(text)
    if isinstance(data, str):
        data = {"request": data}
    elif isinstance(data, list) or (isinstance(data, dict) and "steps" in data):
        data = _plan_by_itself(data)
    if not isinstance(data, dict) or not (data.get("request") or data.get("plan")):
        raise UndecodableMessage(f"the request asks for nothing; {_ACCEPTED}", code="empty_request")
    _check_size(data)
    try:
        return RunRequested.model_validate(data)
    except ValidationError as error:
        raise UndecodableMessage(_problems(error), code="bad_request") from None


def _data(text: str) -> Any:
    if not text.startswith(("{", "[", '"')):
        return text
    try:
        return from_json(text)
    except ValueError as error:
        if text.startswith("{"):
            raise UndecodableMessage(
                f"the request begins like JSON, but is not: {error}", code="not_json"
            ) from None
        return text  # a sentence that begins with a bracket or a quote


def _plan_by_itself(data: Any) -> dict[str, Any]:
    if isinstance(data, list):
        return {"plan": {"steps": data}}
    rest = {key: value for key, value in data.items() if key != "steps"}
    return {**rest, "plan": {"steps": data["steps"]}}


def _check_size(data: dict[str, Any]) -> None:
    request = data.get("request") or ""
    size = len(request.encode()) if isinstance(request, str) else 0
    if size > REQUEST_LIMIT_BYTES:
        raise UndecodableMessage(
            f"the request's text is {size:,} bytes long; the limit is {REQUEST_LIMIT_BYTES:,}: "
            "pass large inputs by reference",
            code="too_large",
        )


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in problems[:5]
    )
    return f"not a valid request: {said}; {_ACCEPTED}"
