"""A run, whoever asked for it: watching it, waiting for its end, telling it what to do.

A command is a fact on `events` like every other. What becomes of it is decided by its place in the
log alone, so whoever reads the log up to that place knows: nobody has to be asked, and of two
people who answer at once both are told whose answer came first.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from starlings.choreography import Ignored, Run, fold, refusal, reopen
from starlings.choreography.snapshot import save
from starlings.forms import answer_name
from starlings.kafka.codec import Received
from starlings.messages import (
    ApprovalGiven,
    CancelRequested,
    CommandRefused,
    EventHandled,
    Message,
    PauseRequested,
    ReplanRequested,
    ResumeRequested,
    RetryRequested,
    RunDone,
    RunForked,
    SignalReceived,
    StarlingsError,
    generation_id,
    message_id,
)
from starlings.messages.commands import REPLAN_LIMIT_CHARS

from .answering import read_answer, why_not_asked
from .view import RunView

if TYPE_CHECKING:
    from .client import Client

SEEN_WITHIN_S = 30.0


class RunNotFound(StarlingsError):  # noqa: N818 - says what is the case
    """The log holds no such run (any more)."""

    code = "run_not_found"


class StepNotFound(StarlingsError):  # noqa: N818 - says what is the case
    """The plan of the run has no such step."""

    code = "step_not_found"


class RunHandle:
    """A run. Commands look at it first, and return how it stands after them.

    Raises (each command):
        RunNotFound: there is no such run in the log.
        StepNotFound: its plan has no such step.
        CommandRefused: as the run stands, or since somebody was first, nothing came of it.
        TimeoutError: it was given, but has not been seen in the log yet.
    """

    def __init__(self, client: Client, run_id: str, *, start: int | None = None) -> None:
        self.run_id = run_id
        self._client = client
        self._start = start  # offset in its partition from which its facts are to be found

    # -- watching ------------------------------------------------------------------------------

    async def facts(self) -> AsyncGenerator[Message]:
        """Deliver the run's facts from its beginning, and those to come, up to its `run_done`."""
        async with contextlib.aclosing(self.records()) as records:
            async for received in records:
                yield received.message

    async def records(self, *, follow: bool = True) -> AsyncGenerator[Received]:
        """Deliver the run's facts with their places; without `follow` only those that are there.

        Where the run was reopened, up to its end of the last time. What lies behind an end and
        reopens nothing is left out: it changes nothing.
        """
        view = RunView(self.run_id)
        reading = self._client.read_run(
            self.run_id,
            self._start,
            follow=follow,
            until=(lambda: view.done is not None) if follow else None,
        )
        async with contextlib.aclosing(reading) as facts:
            async for received in facts:
                ended = view.done is not None
                view.add(received)
                of_events = isinstance(received.message, EventHandled)
                if not ended or view.done is None or of_events:
                    yield received

    async def result(self, *, timeout_s: float | None = None) -> RunDone:
        """Wait for the run's end and return it.

        Raises:
            TimeoutError: the run has not ended in time; it goes on.
        """
        done: RunDone | None = None
        async with asyncio.timeout(timeout_s), contextlib.aclosing(self.facts()) as facts:
            async for fact in facts:
                done = fact if isinstance(fact, RunDone) else done
        if done is None:
            raise RunNotFound(f"the log of run {self.run_id} ended without an end of the run")
        return done

    async def view(self) -> RunView:
        """See the run as it stands now.

        Raises:
            RunNotFound: the log holds no fact of it.
        """
        view = RunView(self.run_id)
        async for received in self.records(follow=False):
            view.add(received)
        if not view.facts:
            raise RunNotFound(
                f"there is no run {self.run_id!r} in the log; `starlings runs` lists what there is"
            )
        return view

    # -- commands ------------------------------------------------------------------------------

    async def cancel(self, reason: str = "", *, requested_by: str = "") -> None:
        """Ask for the run to end now, also one that is not planned yet; it is not waited for."""
        fact = CancelRequested(run_id=self.run_id, reason=reason, requested_by=requested_by)
        await self._client.publish_fact(self.run_id, fact, _unique(fact))

    async def pause(self, reason: str = "", *, requested_by: str = "") -> RunView:
        """Let the run release no more steps for now; those at work go on."""
        return await self._tell(
            PauseRequested(run_id=self.run_id, reason=reason, requested_by=requested_by)
        )

    async def resume(self, *, requested_by: str = "") -> RunView:
        """Let a paused run go on."""
        return await self._tell(ResumeRequested(run_id=self.run_id, requested_by=requested_by))

    async def replan(self, text: str, *, requested_by: str = "") -> RunView:
        """Have the planner change the run, as the text says; it is not waited for its answer.

        Meanwhile no step of the run begins. What becomes of it is told by `plan_amended`, or by
        `amendment_rejected` with its reasons.
        """
        if not text.strip() or len(text) > REPLAN_LIMIT_CHARS:
            limit = f"{REPLAN_LIMIT_CHARS:,} characters at most"
            raise CommandRefused(f"say in words what shall be changed about the run, in {limit}")
        fact = ReplanRequested(run_id=self.run_id, text=text, requested_by=requested_by)
        return await self._tell(fact)

    async def signal(self, name: str, payload: JsonValue = None, *, sent_by: str = "") -> RunView:
        """Send a signal to the step that waits for it, or that will."""
        return await self._tell(
            SignalReceived(run_id=self.run_id, name=name, payload=payload, sent_by=sent_by)
        )

    async def approve(self, step_id: str, comment: str = "", *, given_by: str = "") -> RunView:
        """Say yes to what a step asks."""
        return await self._answer(step_id, comment, given_by, approved=True)

    async def reject(self, step_id: str, comment: str = "", *, given_by: str = "") -> RunView:
        """Say no to what a step asks."""
        return await self._answer(step_id, comment, given_by, approved=False)

    async def answer(
        self,
        step_id: str,
        values: JsonValue = None,
        *,
        typed: Mapping[str, str] = MappingProxyType({}),
        given_by: str = "",
    ) -> RunView:
        """Answer the form of a step, and wait for its agent to take the answer.

        `values` are exact; `typed` are read by the types of their fields.

        Raises:
            AnswerInvalid: the form does not take this; every problem is named.
        """
        run = await self._look(step_id)
        step = run.steps[step_id]
        answer = read_answer(step, {} if values is None else values, typed)
        if (why := why_not_asked(run, step)) is not None:
            raise CommandRefused(why)
        fact = SignalReceived(
            run_id=self.run_id, name=answer_name(step_id), payload=answer, sent_by=given_by
        )
        await self._client.publish_fact(self.run_id, fact, _unique(fact))
        return await self._see(
            lambda view: view.run is not None and view.run.steps[step_id].settled
        )

    async def _see(self, is_so: Callable[[RunView], bool]) -> RunView:
        view = RunView(self.run_id)
        reading = self._client.read_run(self.run_id, self._start, follow=True)
        async with asyncio.timeout(SEEN_WITHIN_S), contextlib.aclosing(reading) as facts:
            async for received in facts:
                view.add(received)
                if is_so(view):
                    break
        return view

    async def retry(
        self,
        step_id: str | None = None,
        *,
        input: JsonValue = None,  # noqa: A002 - as the step's field is called
        compensation: bool = False,
        requested_by: str = "",
    ) -> RunView:
        """Go on with a run that ended badly: do again what is not done, or undo again.

        Args:
            step_id: of which step; None: every one that is not done (or not undone).
            input: for that step, instead of its own.
            compensation: undo again what could not be undone, instead of doing again.
            requested_by: who wants it.
        """
        if input is not None and (step_id is None or compensation):
            raise CommandRefused("an input needs the step that it is for, to be done again")
        run = await self._look(step_id)
        why = refusal(run, step_id=step_id, compensation=compensation)
        if why is not None:
            raise CommandRefused(f"run {self.run_id} cannot go on: {why}")
        generation = run.generation + 1
        fact = RetryRequested(
            run_id=self.run_id,
            step_id=step_id,
            compensation=compensation,
            input=input,
            requested_by=requested_by,
            generation=generation,
            plan_offset=run.plan_offset,
            state=save(run),
        )
        reopened = reopen(fact, at_ms=_now_ms())
        if isinstance(reopened, Ignored):
            raise CommandRefused(f"run {self.run_id} cannot go on: {reopened.reason}")
        return await self._give(fact, generation_id(self.run_id, fact.NAME, generation))

    async def begin(self, fact: RunForked) -> RunView:
        """Begin this run on results of another one.

        Raises:
            CommandRefused: there is a run of this id.
        """
        with contextlib.suppress(RunNotFound):
            await self.view()
            raise is_taken(self.run_id)
        ident, replay = message_id(self.run_id, fact.NAME), f"fork of {fact.from_run}"
        return await self._give(fact, ident, replay=replay)

    async def _answer(
        self, step_id: str, comment: str, given_by: str, *, approved: bool
    ) -> RunView:
        fact = ApprovalGiven(
            run_id=self.run_id,
            step_id=step_id,
            approved=approved,
            comment=comment,
            given_by=given_by,
        )
        return await self._tell(fact, step_id)

    # -- how a command is given ----------------------------------------------------------------

    async def _look(self, step_id: str | None) -> Run:
        view = await self.view()
        run = view.run
        if run is None:
            raise CommandRefused(
                f"run {self.run_id} is not planned yet; try again when `starlings show "
                f"{self.run_id}` tells its steps"
            )
        if step_id is not None and step_id not in run.steps:
            there = ", ".join(list(run.steps)[:20]) or "none"
            raise StepNotFound(f"run {self.run_id} has no step {step_id!r}; there are: {there}")
        return run

    async def _tell(self, fact: Message, step_id: str | None = None) -> RunView:
        run = await self._look(step_id)
        tried = fold(copy.deepcopy(run), fact, at_ms=_now_ms())
        if isinstance(tried, Ignored):
            raise CommandRefused(self._why_not(run, tried.reason, step_id))
        return await self._give(fact, _unique(fact))

    async def _give(self, fact: Message, ident: str, *, replay: str | None = None) -> RunView:
        """Publish a command, and read on in the log until it is seen what came of it."""
        offset = await self._client.publish_fact(self.run_id, fact, ident, replay=replay)
        view = RunView(self.run_id)
        async with (
            asyncio.timeout(SEEN_WITHIN_S),
            contextlib.aclosing(
                self._client.read_run(self.run_id, self._start, follow=True)
            ) as facts,
        ):
            async for received in facts:
                view.add(received)
                if received.origin.offset >= offset:
                    break
        if view.refused is not None and view.run is not None:
            step_id = getattr(fact, "step_id", None)
            why = self._why_not(view.run, view.refused, step_id)
            raise CommandRefused(f"{why} (it changed while the command was on its way)")
        return view

    def _why_not(self, run: Run, reason: str, step_id: str | None) -> str:
        step = run.steps.get(step_id or "")
        answer = step.output if step is not None and step.spec.approval is not None else None
        if step is None or not isinstance(answer, dict) or "approved" not in answer:
            where = f"step {step_id!r} of run {self.run_id}" if step else f"run {self.run_id}"
            return f"nothing to do for {where}: {reason}"
        word = "approved" if answer["approved"] else "rejected"
        by = f" by {answer['by']}" if answer.get("by") else ""
        comment = f": {answer['comment']}" if answer.get("comment") else ""
        return f"step {step_id!r} of run {self.run_id} has been {word}{by} already{comment}"


def is_taken(run_id: str) -> CommandRefused:
    """Say that a run cannot begin under an id."""
    return CommandRefused(f"there is a run {run_id} already: choose another id")


def _unique(fact: Any) -> str:
    return f"{fact.run_id}/{fact.NAME}/{time.time_ns()}"


def _now_ms() -> int:
    return int(time.time() * 1000)
