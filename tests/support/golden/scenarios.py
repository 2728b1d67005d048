"""Stories that are recorded, each told to a `Recorder`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from starlings.messages import (
    Amendment,
    AmendmentProposed,
    Approval,
    ApprovalGiven,
    Budget,
    Compensation,
    Condition,
    ErrorInfo,
    ForEach,
    InheritedResult,
    PauseRequested,
    Plan,
    PlanRejected,
    Problem,
    ReplanRequested,
    ResumeRequested,
    RetryPolicy,
    RunForked,
    RunOptions,
    SignalReceived,
    SignalWait,
    Step,
    StepDone,
    StepOutcome,
    StepProgress,
    StepStarted,
    Timeouts,
)

from .recorder import Recorder, Told

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


def undone_late(recorder: Recorder) -> None:
    """A car whose agent is slow is given back by its first try, and a room once it is abandoned."""
    once = Compensation(agent="hotels", retry=RetryPolicy(attempts=1))
    hotel = TRIP[2].model_copy(update={"compensate": once})
    run = Told(recorder, "undone-late", *TRIP[:2], hotel, TRIP[3], undo_queue_s=60)
    run.ok("flight", {"id": "F7"}, **UNDO)
    run.ok("car", {"id": "C1"}, **UNDO)
    run.ok("hotel", {"id": "H3"})
    run.fail("pay", code="broke", message="no money")
    recorder.wait(661)
    run.undone("hotel", 1)  # abandoned by now
    recorder.wait(2)
    run.undone("car", 1)  # its second try is under way
    run.undone("car", 2)
    run.undone("flight", 1)


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


def foreach(recorder: Recorder) -> None:
    """A list of three, two at a time; one of them is undone, the others had not begun."""
    steps = (
        Step(id="list", agent="string", task="name three"),
        Step(
            id="do",
            agent="math",
            task="count {{item}}",
            depends_on=["list"],
            foreach=ForEach(items="{{steps.list.output}}", max_parallel=2),
        ),
        Step(id="sum", agent="math", task="sum {{steps.do.output}}", depends_on=["do"]),
    )
    run = Told(recorder, "foreach", *steps, on_failure="continue")
    run.agents |= {f"do[{number}]": "math" for number in range(3)}
    run.ok("list", ["a", "bb", "ccc"])
    run.ok("do[1]", 2)
    run.fail("do[0]")
    run.ok("do[2]", 3)
    run.ok("sum", 5)
    nothing = Told(recorder, "nothing", *steps)
    nothing.ok("list", [])
    undoing = Told(recorder, "undoing", *steps)
    undoing.agents |= run.agents
    undoing.ok("list", ["a", "bb", "ccc"])
    undoing.ok("do[0]", 1, compensation=Compensation(agent="math"))
    undoing.fail("do[1]")
    undoing.ok("do[2]", 3)
    undoing.undone("do[0]", 1)


def amended(recorder: Recorder) -> None:
    """A manager adds two workers, takes a step out, and asks once for what makes no sense."""
    steps = (*DEMO[:2], Step(id="report", agent="string", task="tell", depends_on=["s1"]))
    workers = [Step(id=name, agent="math", task="work", depends_on=["s1"]) for name in ("w1", "w2")]
    run = Told(recorder, "amended", *steps, DEMO[3], max_parallel=2)
    run.agents |= {"w1": "math", "w2": "math"}
    run.ok("s1", 50, amendment=Amendment(add=workers, remove=["s4"]))
    run.ok("w1", 1)
    run.ok("s2", 2, amendment=Amendment(remove=["w1"]))
    run.ok("w2", 2)
    run.ok("report", "told")


def replanned(recorder: Recorder) -> None:
    """One step fails and is planned anew; what a person finds wrong is undone, and done again."""
    steps = (*DEMO[:2], Step(id="sum", agent="math", task="add", depends_on=["s1", "s2"]))
    run = Told(recorder, "replanned", *steps, on_failure="replan")
    again = Step(id="s2", agent="string", task="count the words in 'Hello'")
    run.ok("s1", 50, compensation=Compensation(agent="math"))
    run.fail("s2")
    _propose(recorder, 1, Amendment(replace=[again], reason="one word is enough"))
    run.ok("s2", 1, attempt=2)
    wish = ReplanRequested(run_id="replanned", text="s1 cannot be right")
    recorder.tell("replanned/replan_requested/1", wish)
    _propose(recorder, 2, Amendment(remove=["s1"]))
    recorder.tell("replanned/replan_requested/2", wish)
    _propose(recorder, 3, Amendment(invalidate=["s1"]))
    cancelled = StepOutcome.CANCELLED
    run.say(StepDone, "sum", 1, outcome=cancelled, error=ErrorInfo(code="cancelled", message="so"))
    run.undone("s1", 1)
    run.ok("s1", 51, attempt=2)
    run.ok("sum", 52, attempt=2)


def _propose(recorder: Recorder, number: int, amendment: Amendment) -> None:
    fact = AmendmentProposed(run_id="replanned", number=number, amendment=amendment)
    recorder.tell(f"replanned/amendment_proposed/{number}", fact)


def forked(recorder: Recorder) -> None:
    """A run goes on otherwise from what another one came to; what is inherited is never undone."""
    flight = TRIP[0].model_copy(update={"compensate": Compensation(agent="flights")})
    original = Told(recorder, "original", flight, *TRIP[1:])
    original.ok("flight", {"id": "F7"})
    original.ok("car", {"id": "C1"}, **UNDO)
    room = TRIP[2].model_copy(update={"task": "book a small room"})
    fork = Told(recorder, "fork")
    fork.agents |= original.agents
    begun = RunForked(
        run_id="fork",
        from_run="original",
        from_offset=len(recorder.lines) - 1,
        plan=Plan(steps=[flight, TRIP[1], room, TRIP[3]]),
        options=RunOptions(routing={"hotels": {"v2": 1.0}}, timeout_s=60),
        inherited=[InheritedResult(step_id="flight", output={"id": "F7"}, summary="booked")],
        changed=["a plan of its own", "hotels=v2"],
        requested_by="Ann",
    )
    recorder.tell("fork/run_forked", begun)
    original.ok("hotel", {"id": "H3"})
    fork.ok("car", {"id": "C2"}, **UNDO)
    original.ok("pay", {"paid": 9})
    fork.fail("hotel", code="full", message="no room")
    fork.undone("car", 1)
    recorder.tell("fork/run_forked", begun)  # a repeat
    wrong = InheritedResult(step_id="pay", output=1)
    contradicts = begun.model_copy(update={"run_id": "wrong", "inherited": [wrong]})
    recorder.tell("wrong/run_forked", contradicts)


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
    "undone_late": undone_late,
    "reopened": reopened,
    "asking": asking,
    "conditions": conditions,
    "amended": amended,
    "foreach": foreach,
    "replanned": replanned,
    "budget": budget,
    "forked": forked,
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
