"""`starlings replay step` on archives: a recorded step runs again, beside what came of it then."""

from __future__ import annotations

import re
import shutil

from support.command_line import CommandLine
from support.recorded_steps import AGENT, CODE, RUN, TOPICS, Recorder, recorded

from starlings.messages import KeptAnswers, Plan, RunDone, StepStarted


def replay(starlings: CommandLine, file: str, *argv: str, step: str = "cup", run: str = RUN) -> int:
    return starlings("replay", "step", run, step, "--from", file, "--agent", AGENT, *argv)


# -- the same, and something else ------------------------------------------------------------------


def test_a_recorded_step_gives_the_same_again_and_does_nothing_outside(
    starlings, recorder, tmp_path
):
    file = recorded(recorder)
    assert replay(starlings, file, "--json") == 0, starlings.stderr
    told = starlings.document
    assert (told["same"], told["differences"], told["published"]) == (True, [], False)
    assert told["now"]["output"] == {"what": "cup", "price": 3, "with": ["tea"]}
    assert told["ready_from"] == "starlings.steps.shop/0/1"
    assert told["calls"] == {"answered": ["buy"], "made": [], "missing": [], "refused": []}
    assert not (tmp_path / "bought.txt").exists()
    assert (tmp_path / "replaying.txt").read_text() == "True"


def test_what_comes_out_otherwise_is_shown_line_by_line(starlings, recorder, tmp_path):
    file = recorded(recorder)
    (tmp_path / "rate.txt").write_text("7")
    assert replay(starlings, file) == 8
    page = starlings.stdout
    assert "something else came of it: output" in page
    assert re.search(r'^ +- +"price": 3,$', page, re.MULTILINE)
    assert re.search(r'^ +\+ +"price": 21,$', page, re.MULTILINE)
    assert "answers recorded: 1 from the record, 0 made now\n  buy: " in page


def test_a_step_that_fails_now_is_shown_with_its_error(starlings, recorder, tmp_path):
    file = recorded(recorder)
    (tmp_path / "broken.txt").write_text("x")
    assert replay(starlings, file, "--json") == 8
    told = starlings.document
    assert [each["field"] for each in told["differences"]] == ["outcome", "output", "error"]
    assert told["now"]["error"]["message"] == "ValueError: no change left"


def test_a_recorded_failure_is_the_same_when_it_fails_again(starlings, recorder, tmp_path):
    (tmp_path / "broken.txt").write_text("x")
    recorder.begin()
    recorder.do("tea")
    assert replay(starlings, recorder.archive(), step="tea") == 0
    assert "the same came of it" in starlings.stdout
    assert "no change left" in starlings.stdout


def test_what_a_step_was_given_is_built_anew_where_retention_has_deleted_it(starlings, recorder):
    file = recorded(recorder, work=False)
    assert replay(starlings, file, "--json") == 0, starlings.stderr
    assert starlings.document["ready_from"] is None
    assert starlings.document["now"]["output"]["with"] == ["tea"]
    assert replay(starlings, file) == 0
    assert "built anew from the run's facts" in starlings.stdout


def test_an_item_of_a_step_with_foreach_can_be_run_again(starlings, tmp_path, recorder):
    plan = Plan.model_validate(
        {"steps": [{"id": "all", "agent": "shop", "task": "buy {{item}}", "foreach": ["a", "b"]}]}
    )
    own = Recorder(tmp_path, plan=plan)
    own.begin()
    own.do("all[0]")
    own.do("all[1]")
    assert replay(starlings, own.archive(), "--json", step="all[1]") == 0, starlings.stderr
    assert starlings.document["now"]["output"]["what"] == "buy b"


# -- answers ---------------------------------------------------------------------------------------


def test_a_step_of_an_older_version_has_no_recorded_answers_and_that_is_said(
    starlings, recorder, tmp_path
):
    file = recorded(recorder, kept=None)
    assert replay(starlings, file, "--json") == 8
    error = starlings.document["now"]["error"]
    assert error["code"] == "not_recorded"
    assert "an older version made it" in error["message"]
    assert starlings.document["calls"]["missing"] == ["buy"]
    assert replay(starlings, file, "--answers", "recorded-then-live") == 0
    assert "made now: buy" in starlings.stdout
    assert (tmp_path / "bought.txt").read_text() == "cup\n"


def test_effects_are_refused_where_asked(starlings, recorder, tmp_path):
    file = recorded(recorder)
    assert replay(starlings, file, "--answers", "live", "--no-effects", "--json") == 8
    assert starlings.document["now"]["error"]["code"] == "effect_refused"
    assert starlings.document["calls"]["refused"] == ["buy"]
    assert not (tmp_path / "bought.txt").exists()


def test_live_makes_the_calls(starlings, recorder, tmp_path):
    file = recorded(recorder)
    assert replay(starlings, file, "--answers", "live") == 0
    assert (tmp_path / "bought.txt").read_text() == "cup\n"


# -- bad input -------------------------------------------------------------------------------------


def test_runs_steps_and_attempts_that_are_not_there_are_named(starlings, recorder):
    recorder.begin()
    recorder.do("tea")
    file = recorder.archive()
    wrong = {
        ("r9", "tea"): "there is no run 'r9' in the log",
        (RUN, "pot"): "run r1 has no step 'pot'; it has tea, cup",
    }
    for (run, step), said in wrong.items():
        assert replay(starlings, file, step=step, run=run) == 2
        assert said in starlings.stderr
    assert replay(starlings, file, "--attempt", "2", step="tea") == 2
    assert "has made 1 attempt, and none of number 2" in starlings.stderr


def test_a_step_that_never_ran_says_how_it_stands(starlings, recorder):
    recorder.begin()
    recorder.release("tea")
    assert replay(starlings, recorder.archive()) == 2
    assert "step 'cup' of run r1 has not run: it is waiting" in starlings.stderr


def test_the_end_of_an_attempt_may_be_missing(starlings, recorder):
    recorder.begin()
    recorder.release("tea")
    file = recorder.archive()
    assert replay(starlings, file, "--answers", "live", step="tea") == 0
    assert "nothing to compare with: how the attempt ended is not in the log" in starlings.stdout
    assert replay(starlings, file, "--answers", "live", "--json", step="tea") == 0
    assert (starlings.document["same"], starlings.document["recorded"]) == (None, None)
    assert "was killed, or ran out of time" in starlings.document["why_no_end"]


def test_an_attempt_that_nobody_ended_says_what_is_there_and_what_to_do(starlings, recorder):
    recorder.begin()
    recorder.release("tea")
    begun = StepStarted(run_id=RUN, step_id="tea", attempt=1, agent="shop", instance="shop-7")
    recorder.say(begun, f"{RUN}/tea/1/step_started")
    assert replay(starlings, recorder.archive(), step="tea") == 1
    page = " ".join(starlings.stdout.split())
    assert "given: from starlings.steps.shop/0/0" in page
    assert (
        "how the attempt ended is not in the log shop-7 had started it the run waits for its result"
        in page
    )
    assert "--answers live makes them" in page
    assert "not_recorded: the call 'buy' has no recorded answer: the log does not have how" in page
    assert "older version" not in page


def test_a_deleted_beginning_names_the_archive(starlings, recorder):
    recorder.begin()
    recorder.do("tea", work=False)
    end = [r for r in recorder.records if r.topic == TOPICS.events][-1:]
    file = recorder.archive(end, begin=end[0].offset)
    assert replay(starlings, file, step="tea") == 2
    assert "is not known any more: retention has deleted it" in starlings.stderr
    assert "--from FILE" in starlings.stderr


def test_without_the_plan_the_work_itself_is_enough(starlings, recorder):
    recorder.begin()
    recorder.do("tea")
    late = [r for r in recorder.records if not (r.topic == TOPICS.events and r.offset == 0)]
    assert replay(starlings, recorder.archive(late, begin=1), step="tea") == 0, starlings.stderr


def test_a_blob_that_is_gone_is_named(starlings, recorder, tmp_path):
    recorder.begin()
    recorder.do("tea", output="x" * 400_000)
    recorder.do("cup")
    file = recorder.archive()
    shutil.rmtree(tmp_path / "blobs")
    assert replay(starlings, file) == 2
    assert "r1/tea/1/step_done cannot be read" in starlings.stderr
    assert "blob" in starlings.stderr
    # where only what the agent ended with is gone, it still runs
    assert replay(starlings, file, "--answers", "live", step="tea") == 0
    page = " ".join(starlings.stdout.split())
    assert "how the attempt ended cannot be read" in page
    assert "the attempt has a result in the log, which cannot be read" in page


def test_what_is_gone_is_not_blamed_on_an_end_that_cannot_be_read(starlings, recorder, tmp_path):
    recorder.begin()
    recorder.do("tea", work=False)
    done = RunDone(run_id=RUN, outcome="completed", text="x" * 400_000)
    recorder.say(done, f"{RUN}/run_done")
    late = [r for r in recorder.records if r.topic == TOPICS.events][2:]
    file = recorder.archive(late, begin=late[0].offset)
    shutil.rmtree(tmp_path / "blobs")
    assert replay(starlings, file, step="tea") == 2
    assert "is not known any more: retention has deleted it" in starlings.stderr


def test_agents_are_found_by_name_in_the_project_and_missing_ones_are_said_to_be(
    starlings, recorder, tmp_path
):
    file = recorded(recorder)
    argv = ("replay", "step", RUN, "cup", "--from", file)
    assert starlings(*argv) == 2
    assert "no installed package offers an agent 'shop'" in starlings.stderr
    assert "--agent module:agent" in starlings.stderr
    assert starlings(*argv, "--agent", "nowhere:agent") == 2
    assert "there is no module 'nowhere'" in starlings.stderr
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[project.entry-points."starlings.agents"]\nshop = "shop:agent"\n'
    )
    assert starlings(*argv) == 0, starlings.stderr


def test_several_agents_in_one_file_are_told_apart_by_the_name_of_the_recorded_one(
    starlings, recorder, tmp_path
):
    file = recorded(recorder)
    (tmp_path / "two.py").write_text(
        CODE + '\n\nother = Agent("other", description="Else")\n\n\n'
        "@other.step\ndef nothing() -> str:\n    return ''\n"
    )
    argv = ("replay", "step", RUN, "cup", "--from", file, "--agent")
    assert starlings(*argv, "two.py") == 0, starlings.stderr
    assert starlings(*argv, "two.py:other", "--json") == 8
    assert starlings.document["now"]["agent"] == "other"


def test_publishing_from_a_file_and_debugging_for_a_program_are_refused(starlings, recorder):
    file = recorded(recorder)
    assert replay(starlings, file, "--publish") == 2
    assert "--publish needs the live log" in starlings.stderr
    assert replay(starlings, file, "--pdb", "--json") == 2


# -- jobs ------------------------------------------------------------------------------------------


JOB = """
from pathlib import Path

from starlings.agents import JobAgent, JobStatus, Phase

agent = JobAgent("shop", description="Renders", first_poll_s=0.01)


@agent.create
def create(task: str) -> str:
    with Path("created.txt").open("a") as file:
        file.write(task)
    return task


@agent.get
def get(handle: str) -> JobStatus:
    phase = Phase(Path("phase.txt").read_text() if Path("phase.txt").exists() else "succeeded")
    return JobStatus(phase, output=handle.upper())


@agent.delete
def delete(handle: str) -> None:
    Path("deleted.txt").write_text(handle)
"""


def test_a_job_is_not_created_again_but_looked_at_by_its_handle(starlings, recorder, tmp_path):
    (tmp_path / "shop.py").write_text(JOB)
    recorder.begin()
    recorder.do("tea", kept=KeptAnswers(answers={"starlings:handle": "tea"}))
    (tmp_path / "created.txt").unlink()
    file = recorder.archive()
    assert replay(starlings, file, step="tea") == 0, starlings.stdout
    (tmp_path / "phase.txt").write_text("running")
    assert replay(starlings, file, "--json", step="tea") == 8
    assert starlings.document["now"]["error"]["code"] == "not_ended"
    assert not (tmp_path / "created.txt").exists()
    assert not (tmp_path / "deleted.txt").exists()


def test_a_job_without_a_recorded_handle_is_begun_only_where_that_is_asked_for(
    starlings, recorder, tmp_path
):
    (tmp_path / "shop.py").write_text(JOB)
    recorder.begin()
    recorder.do("tea", kept=None)
    (tmp_path / "created.txt").unlink()
    file = recorder.archive()
    assert replay(starlings, file, "--json", step="tea") == 8
    assert starlings.document["now"]["error"]["code"] == "not_recorded"
    live = ("--answers", "live")
    assert replay(starlings, file, *live, "--no-effects", "--json", step="tea") == 8
    assert starlings.document["now"]["error"]["code"] == "effect_refused"
    assert not (tmp_path / "created.txt").exists()
    assert replay(starlings, file, *live, step="tea") == 0
    assert (tmp_path / "created.txt").read_text() == "tea"
