"""`ctx.once`: the answer of a call is kept, so that a step that is started again has it already.

Answers belong to an attempt: a retry is a new attempt, and asks anew. What is kept is JSON, as its
readers see it, also in the attempt that made the call: a step cannot come to depend on more. Errors
are not kept. A call whose answer was not kept before a crash is made again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol

from pydantic import JsonValue

from starlings.messages import CallCheckpoint, StepFailed

from .call_record import A_CALL, A_SECRET, Asked, CallRecord
from .threads import call as call_author
from .values import json_value

NAME_LIMIT = 200
OWN_PREFIX = "starlings:"  # names that authors cannot give

Call = Callable[[], Any] | Callable[[], Awaitable[Any]]


class Kept(Protocol):
    """An answer that was kept; the value may be null."""

    @property
    def answer(self) -> JsonValue:
        """What the call gave."""


class Calls(Protocol):
    """The memory of an attempt's calls; `keep` returns when an answer outlives a crash."""

    def find(self, name: str, asked: Asked = A_CALL) -> Kept | None:
        """Look an answer up; None where there is none."""

    def permit(self, name: str, asked: Asked, *, void: bool) -> None:
        """Raise where a call must not be made; `void`: there is an answer, but not a valid one."""

    async def keep(self, name: str, answer: JsonValue) -> None:
        """Remember an answer."""


class CallsInMemory:
    """Remembers for as long as the process lives: for runs without Kafka."""

    def __init__(self) -> None:
        self._answers: dict[str, CallCheckpoint] = {}

    def find(self, name: str, asked: Asked = A_CALL) -> Kept | None:  # noqa: ARG002 - for replays
        """Look an answer up."""
        return self._answers.get(name)

    def permit(self, name: str, asked: Asked, *, void: bool) -> None:
        """Let all calls be made."""

    async def keep(self, name: str, answer: JsonValue) -> None:
        """Remember an answer."""
        self._answers[name] = CallCheckpoint(work="local", call=name, answer=answer)


class Once:
    """Makes each call of an attempt once, by its name; two at a time with one name are one call.

    What calls gave also goes into the attempt's `record`, which is None until one has been made.
    """

    def __init__(
        self, make: Callable[[], Calls], *, scope: str = "", root: Once | None = None
    ) -> None:
        self.record: CallRecord | None = None
        self._make = make
        self._made: Calls | None = None
        self._scope = scope
        self._root = root or self
        self._turns: dict[str, asyncio.Lock] = {}
        self._numbers: dict[str, int] = {}

    @property
    def _calls(self) -> Calls:
        if self._made is None:  # most steps never ask
            self._made = self._make()
        return self._made

    def within(self, scope: str) -> Once:
        """Give a tool's call names of its own."""
        return Once(lambda: self._calls, scope=f"{self._scope}{scope}/", root=self._root)

    def numbered(self, name: str) -> str:
        """Tell calls of one name apart by their order."""
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return f"{name}/{self._numbers[name]}"

    async def __call__(self, name: str, call: Call, *, secret: bool = False) -> JsonValue:
        """Make a call, or give the answer that was kept of it; a secret one is not recorded.

        Raises:
            StepFailed: `output_not_json`, `output_too_large`, `bad_call_name` or `bad_call`.
            Exception: whatever the call itself raised.
        """

        async def made() -> JsonValue:
            return json_value(await _made(call), f"the answer of {name!r}")

        return await self.plain(check_name(name), made, asked=A_SECRET if secret else A_CALL)

    async def plain(
        self,
        name: str,
        call: Callable[[], Awaitable[JsonValue]],
        *,
        valid: Callable[[JsonValue], bool] = lambda _answer: True,
        asked: Asked = A_CALL,
    ) -> JsonValue:
        """Make a call that gives JSON already; an answer that is not `valid` any more is void."""
        name = self._scope + name
        async with self._turns.setdefault(name, asyncio.Lock()):
            kept = self._calls.find(name, asked)
            if kept is None or not valid(kept.answer):
                self._calls.permit(name, asked, void=kept is not None)
                answer = await self._answer(name, call, asked)
                await self._calls.keep(name, answer)
                return answer
            self._recorded.add(name, kept.answer, asked)
            return kept.answer

    async def again(
        self, name: str, call: Callable[[], Awaitable[JsonValue]], *, asked: Asked
    ) -> JsonValue:
        """Make a call anew after each crash, since that does no harm; what it gave is recorded."""
        name = self._scope + name
        kept = self._calls.find(name, asked)
        if kept is not None:
            return kept.answer
        self._calls.permit(name, asked, void=False)
        return await self._answer(name, call, asked)

    async def _answer(
        self, name: str, call: Callable[[], Awaitable[JsonValue]], asked: Asked
    ) -> JsonValue:
        try:
            answer = await call()
        except Exception as error:
            self._recorded.failed(name, error, asked)
            raise
        self._recorded.add(name, answer, asked)
        return answer

    @property
    def _recorded(self) -> CallRecord:
        root = self._root
        if root.record is None:
            root.record = CallRecord()
        return root.record


_calls: ContextVar[Callable[[], Calls]] = ContextVar("starlings_calls", default=CallsInMemory)


class remembering:  # noqa: N801 - used as a function; a class costs less, and each step pays it
    """Give the attempts of this block a memory that outlives the process, made where it is used."""

    __slots__ = ("_calls", "_token")

    def __init__(self, calls: Callable[[], Calls]) -> None:
        self._calls = calls
        self._token: Token[Callable[[], Calls]] | None = None

    def __enter__(self) -> None:
        self._token = _calls.set(self._calls)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _calls.reset(self._token)


def current_once() -> Once:
    """Find the memory of the attempt that begins here; without one it lasts for the attempt."""
    return Once(_calls.get())


def check_name(name: Any) -> str:
    """Refuse names that tell nothing apart.

    Raises:
        StepFailed: `bad_call_name`.
    """
    if not isinstance(name, str) or not name or len(name) > NAME_LIMIT:
        raise StepFailed(
            f"ctx.once({name!r}, …): the name has to be a text of 1 to {NAME_LIMIT} characters "
            "that names this call among all of the step",
            code="bad_call_name",
        )
    if name.startswith(OWN_PREFIX):
        raise StepFailed(
            f"ctx.once({name!r}, …): names that begin with {OWN_PREFIX!r} are taken",
            code="bad_call_name",
        )
    return name


async def _made(call: Call) -> Any:
    if inspect.isawaitable(call):  # `ctx.once(name, ask())` has made the call already
        if inspect.iscoroutine(call):
            call.close()
        raise StepFailed(
            "ctx.once takes the function, not its call: ctx.once(name, lambda: ask(…))",
            code="bad_call",
        )
    return await call_author(call, {})
