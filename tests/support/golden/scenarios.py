"""Stories that are recorded: each tells facts from outside, and the core decides the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from starlings.choreography import (
    CarryPolicy,
    Ledger,
    Recorded,
    confirmation_for,
    message_for,
    retell,
    snapshot,
)
from starlings.messages import (
    Approval,
    ApprovalGiven,
    Budget,
    CancelRequested,
    Compensation,
    CompensationDone,
    Condition,
    Envelope,
    ErrorInfo,
    Message,
    PauseRequested,
    Plan,
    PlanCreated,
    PlanRejected,
    Problem,
    ResumeRequested,
    RetryPolicy,
    RetryRequested,
    RunOptions,
    SignalReceived,
    SignalWait,
    Step,
    StepDone,
    StepOutcome,
    StepProgress,
    StepStarted,
    Timeouts,
    TimerFired,
    Usage,
    message_id,
    snapshot_id,
    timer_id,
    undo_id,
)

from .replay import record_of, told

BEGIN_MS = 1_790_000_000_000
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
POLICY = CarryPolicy(carry_after_records=6)


class Recorder:
    """Writes a log: facts as they are told, decisions as they follow."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ledger = Ledger(policy=POLICY)
        self.ledger.finish_recovery()
        self.now_ms = BEGIN_MS

    def tell(self, ident: str, fact: Any) -> None:
        """Append a fact, and after it what the coordinator publishes on account of it."""
        envelope = Envelope(ident, fact.CE_TYPE, "golden", fact.run_id, self.now_ms)
        line = {
            "offset": len(self.lines),
            "timestamp": self.now_ms,
            "headers": {name: value.decode() for name, value in envelope.headers()},
            "value": fact.model_dump(mode="json", exclude_defaults=True),
        }
        self.lines.append(line)
        owed_before = self._owed(fact.run_id)
        line["then"] = told(self.ledger, record_of(line))
        self.now_ms += 7
        self._publish(fact.run_id, owed_before)

    def _owed(self, run_id: str) -> set[str]:
        run = self.ledger.runs.get(run_id)
        return set(run.owed) if run else set()

    def _publish(self, run_id: str, owed_before: set[str]) -> None:
        for ident in sorted(self._owed(run_id) - owed_before):
            run = self.ledger.runs.get(run_id)
            decision = run.owed.get(ident) if run else None
            if run is None or decision is None:
                continue
            confirmation = confirmation_for(run, decision)
            if confirmation is not None:
                self.tell(confirmation.id, confirmation.message)
            else:
                self.tell(decision.id, message_for(run, decision))

    def wait(self, seconds: float) -> None:
        """Let time pass, and the timers fire that fall due in it."""
        until = self.now_ms + int(seconds * 1000)
        while due := self._next_timer(until):
            due_ms, run_id, key = due
            self.now_ms = max(self.now_ms, due_ms)
            fact = TimerFired(
                run_id=run_id,
                kind=key.kind,
                step_id=key.step_id,
                attempt=key.attempt,
                due_ms=due_ms,
            )
            self.tell(timer_id(run_id, key.kind.value, key.step_id, key.attempt, due_ms), fact)
        self.now_ms = max(self.now_ms, until)

    def _next_timer(self, until_ms: int) -> Any:
        running = [
            (due_ms, run.run_id, key)
            for run in self.ledger.runs.values()
            for key, due_ms in run.timers.items()
            if due_ms <= until_ms
        ]
        return min(running, key=str, default=None)

    def carry(self) -> None:
        """Write snapshots of the runs that have fallen behind."""
        for run_id in list(self.ledger.to_carry(9)):
            fact = self.ledger.carry(run_id)
            self.tell(snapshot_id(run_id, fact.plan_offset, fact.as_of), fact)


class Told:
    """Facts of one run, in short words."""

    def __init__(self, recorder: Recorder, run_id: str, *steps: Step, **options: Any) -> None:
        self.recorder = recorder
        self.run_id = run_id
        self.agents = {step.id: step.agent for step in steps}
        if steps:
            plan = PlanCreated(
                run_id=run_id,
                request=REQUEST,
                plan=Plan(steps=list(steps)),
                options=RunOptions(**options),
                tags={"told": "golden"},
            )
            recorder.tell(message_id(run_id, "plan_created"), plan)

    def say(self, model: type[Message], step_id: str, attempt: int = 1, **fields: Any) -> None:
        fact = model(
            run_id=self.run_id,
            step_id=step_id,
            attempt=attempt,
            agent=self.agents[step_id],
            **fields,
        )
        self.recorder.tell(f"{self.run_id}/{step_id}/{attempt}/{model.NAME}", fact)

    def ok(self, step_id: str, output: Any, attempt: int = 1, **fields: Any) -> None:
        usage = Usage(model="m", calls=1, input_tokens=120, output_tokens=9)
        ok = StepOutcome.OK
        self.say(StepDone, step_id, attempt, outcome=ok, output=output, usage=usage, **fields)

    def fail(self, step_id: str, attempt: int = 1, **error: Any) -> None:
        info = ErrorInfo(**{"code": "division_by_zero", "message": "division by zero"} | error)
        self.say(StepDone, step_id, attempt, outcome=StepOutcome.ERROR, error=info)

    def undone(self, step_id: str, number: int, error: Any = None) -> None:
        name = CompensationDone.NAME
        fact = CompensationDone(
            run_id=self.run_id,
            step_id=step_id,
            attempt=1,
            number=number,
            agent=self.agents[step_id],
            outcome=StepOutcome.ERROR if error else StepOutcome.OK,
            error=ErrorInfo(**error) if error else None,
        )
        self.recorder.tell(undo_id(self.run_id, step_id, 1, number, name), fact)

    def retry(self, **fields: Any) -> None:
        """Ask the run to go on, as a client does: with its state as of its end."""
        lines = [x for x in self.recorder.lines if x["headers"]["ce_subject"] == self.run_id]
        records = [record_of(line) for line in lines]
        run = retell(Recorded(r.offset, r.at_ms, r.message) for r in records)
        assert run is not None
        fact = RetryRequested(
            run_id=self.run_id,
            generation=run.generation + 1,
            plan_offset=run.plan_offset,
            state=snapshot.save(run),
            **fields,
        )
        self.recorder.tell(f"{self.run_id}/retry_requested/{fact.generation}", fact)

    def word(self, model: type[Message], **fields: Any) -> None:
        """Tell what somebody wants of the run."""
        fact = model(run_id=self.run_id, **fields)
        self.recorder.tell(f"{self.run_id}/{model.NAME}/{len(self.recorder.lines)}", fact)

    def cancel(self) -> None:
        fact = CancelRequested(run_id=self.run_id, reason="enough", requested_by="Ann")
        self.recorder.tell(f"{self.run_id}/cancel_requested", fact)


DEMO = (
    Step(id="s1", agent="math", task="multiply 10 by 5"),
    Step(id="s2", agent="string", task="count the words in 'Hello World'"),
    Step(id="s3", agent="math", task="multiply {{steps.s1.output}}", depends_on=["s1", "s2"]),
    Step(id="s4", agent="weather", task="is it raining?", depends_on=["s2"]),
)


def demo(recorder: Recorder) -> None:
    run = Told(recorder, "demo", *DEMO[:3])
    run.ok("s2", 2, summary="'Hello World' has 2 words")
    run.say(StepStarted, "s1", instance="math-0")
    run.ok("s1", 50)
    run.ok("s1", 50)  # the agent repeats itself
    run.ok("s3", 100)
    run.ok("s3", 101)  # too late


def retry(recorder: Recorder) -> None:
    limits = Timeouts(queue_s=30, run_s=60, heartbeat_s=5)
    run = Told(recorder, "retry", *DEMO[:3], timeouts=limits, retry=RetryPolicy(attempts=3))
    run.fail("s1", retryable=True, retry_after_s=4)
    run.ok("s2", 2)
    recorder.wait(10)
    run.say(StepStarted, "s1", 2)
    recorder.wait(4)
    run.say(StepProgress, "s1", 2)
    recorder.wait(20)
    run.ok("s1", 49, 2)  # the attempt that timed out
    run.ok("s1", 50, 3)
    recorder.wait(100)
    run.ok("s3", 100, 3)


def stop(recorder: Recorder) -> None:
    run = Told(recorder, "stop", *DEMO, max_parallel=2, on_failure="stop")
    run.fail("s1")
    run.say(StepDone, "s2", outcome=StepOutcome.CANCELLED)


def continue_(recorder: Recorder) -> None:
    run = Told(recorder, "continue", *DEMO, on_failure="continue")
    run.fail("s1")
    run.ok("s2", 2)
    run.ok("s4", "no")
    run.ok("s3", None)


def skip_dependents(recorder: Recorder) -> None:
    run = Told(recorder, "skip", *DEMO, on_failure="skip_dependents")
    run.fail("s1")
    run.ok("s2", 2)
    run.ok("s4", "no")


def cancel(recorder: Recorder) -> None:
    early = Told(recorder, "early")
    early.cancel()
    Told(recorder, "early", *DEMO[:3])
    run = Told(recorder, "cancel", *DEMO[:3], on_failure="stop")
    run.say(StepStarted, "s1")
    run.ok("s2", 2)
    run.cancel()
    run.cancel()
    recorder.wait(11)


def deadline(recorder: Recorder) -> None:
    run = Told(recorder, "deadline", *DEMO[:3], timeout_s=30, on_failure="stop")
    run.ok("s2", 2)
    recorder.wait(31)
    run.say(StepDone, "s1", outcome=StepOutcome.CANCELLED)


def rejected(recorder: Recorder) -> None:
    problem = Problem(code="cannot_do", message="no agent can dance", remedy="ask for sums")
    fact = PlanRejected(run_id="rejected", request="Dance!", problems=[problem])
    recorder.tell("rejected/plan_created", fact)
    recorder.tell("rejected/plan_created", fact)
    circle = [Step(id="a", agent="math", task="x", depends_on=["a"])]
    Told(recorder, "invalid", *circle)


def carried(recorder: Recorder) -> None:
    run = Told(recorder, "long", *DEMO, on_failure="continue", timeout_s=600)
    run.fail("s1", retryable=True)
    run.say(StepStarted, "s2")
    recorder.wait(0.5)
    Told(recorder, "short", DEMO[0]).ok("s1", 50)
    recorder.carry()
    run.ok("s2", 2)
    recorder.wait(5)
    run.ok("s1", 50, 2)
    Told(recorder, "other", DEMO[0]).ok("s1", 50)
    recorder.carry()
    run.ok("s3", 100)
    Told(recorder, "long", DEMO[1])  # a repeat with another plan, while the run is open
    run.ok("s4", "no")
    Told(recorder, "long", DEMO[1])  # and after its end


TRIP = (
    Step(id="flight", agent="flights", task="book a flight"),
    Step(id="car", agent="cars", task="rent a car", depends_on=["flight"]),
    Step(
        id="hotel",
        agent="hotels",
        task="book a room",
        depends_on=["flight"],
        compensate=Compensation(agent="hotels", tool="cancel", args={"room": 1}),
        timeouts=Timeouts(run_s=60),
        retry=RetryPolicy(attempts=1),
    ),
    Step(id="pay", agent="bank", task="pay", depends_on=["car", "hotel"]),
)
UNDO = {"compensation": Compensation(agent="flights")}


def saga(recorder: Recorder) -> None:
    """A room that nobody heard of again is given back, then the car, then the flight."""
    run = Told(recorder, "saga", *TRIP)
    run.ok("flight", {"id": "F7"}, **UNDO)
    run.say(StepStarted, "hotel")
    run.ok("car", {"id": "C1"}, **UNDO)
    recorder.wait(61)
    run.undone("hotel", 1)
    run.undone("car", 1, error={"code": "busy", "message": "call again", "retryable": True})
    recorder.wait(2)
    run.undone("car", 2)
    run.ok("hotel", {"id": "H3"})  # late, and undone already
    run.undone("flight", 1)


def abandoned(recorder: Recorder) -> None:
    """A car that cannot be given back keeps its flight, until somebody asks again."""
    run = Told(recorder, "abandoned", *TRIP)
    run.ok("flight", {"id": "F7"}, **UNDO)
    run.ok("car", {"id": "C1"}, **UNDO)
    run.fail("hotel", code="full", message="no room")
    run.undone("car", 1, error={"code": "lost", "message": "no such car"})
    run.retry(compensation=True)
    run.undone("car", 2)
    run.undone("flight", 1)
    run.retry(compensation=True)  # nothing is left to undo


def reopened(recorder: Recorder) -> None:
    run = Told(recorder, "reopened", *DEMO[:3], on_failure="stop")
    run.ok("s2", 2)
    run.fail("s1")
    run.retry(step_id="s1", input={"a": 10, "b": 5})
    run.ok("s1", 50, 2)
    run.ok("s3", 100)


def asking(recorder: Recorder) -> None:
    """Approvals, a signal that comes early, a pause; the steps go to a variant."""
    steps = (
        DEMO[0],
        Step(id="ok", agent="human", approval=Approval(question="Well?"), depends_on=["s1"]),
        Step(id="paid", agent="signal", signal=SignalWait(name="payment"), depends_on=["ok"]),
        Step(id="late", agent="signal", signal=SignalWait(name="x", timeout_s=5, default="none")),
        Step(id="s2", agent="string", task="say thanks", depends_on=["paid"]),
    )
    run = Told(recorder, "asking", *steps, routing={"string": {"canary": 1.0}})
    run.word(PauseRequested)
    run.word(SignalReceived, name="payment", payload={"amount": 5})
    run.ok("s1", 50)
    run.word(ResumeRequested)
    recorder.wait(6)
    run.word(ApprovalGiven, step_id="ok", approved=True, given_by="Ann")
    run.word(ApprovalGiven, step_id="ok", approved=False, given_by="Bob")
    run.ok("s2", "thanks")


def conditions(recorder: Recorder) -> None:
    """A branch that is not taken, the one that is, and where they meet."""
    few = Condition(value="{{steps.s2.output}}", less_than=5)
    steps = (
        DEMO[1],
        Step(id="few", agent="string", task="spell them", depends_on=["s2"], when=few),
        Step(id="many", agent="math", task="sum", depends_on=["s2"], when=Condition(none=[few])),
        Step(id="more", agent="math", task="go on", depends_on=["many"]),
        Step(id="end", agent="string", task="tell", depends_on=["few", "more"]),
    )
    run = Told(recorder, "conditions", *steps)
    run.ok("s2", 2)
    run.ok("few", "Hello, World")
    run.ok("end", "told")


def budget(recorder: Recorder) -> None:
    """Two steps use up what was given for all; what they did is undone."""
    run = Told(recorder, "budget", *DEMO[:3], budget=Budget(tokens=250, wall_time_s=60))
    run.ok("s2", 2, compensation=Compensation(agent="string"))
    run.ok("s1", 50)
    run.undone("s2", 1)


SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    "demo": demo,
    "retry": retry,
    "stop": stop,
    "continue": continue_,
    "skip_dependents": skip_dependents,
    "cancel": cancel,
    "deadline": deadline,
    "rejected": rejected,
    "carried": carried,
    "saga": saga,
    "abandoned": abandoned,
    "reopened": reopened,
    "asking": asking,
    "conditions": conditions,
    "budget": budget,
}


def record(name: str) -> list[dict[str, Any]]:
    """Tell a story and write its log."""
    recorder = Recorder()
    SCENARIOS[name](recorder)
    return recorder.lines


def altered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Change one result, so that the work that builds on it is not what was recorded."""
    lines = copy.deepcopy(lines)
    changed = next(line for line in lines if line["headers"]["ce_id"] == "demo/s1/1/step_done")
    changed["value"]["output"] = 51
    return lines
