"""Print `docs/states.md`, drawn from the tables in `starlings.choreography.transitions`.

Run it after a change of the tables: `.venv/bin/python docs/states.py > docs/states.md`
"""  # noqa: INP001 - a program, not a package

from __future__ import annotations

import sys

from starlings.choreography.transitions import diagram

INTRO = """\
# States of steps and runs

Drawn from the tables in `sdk/starlings/choreography/transitions.py`; do not edit by hand:
`.venv/bin/python docs/states.py > docs/states.md` draws it anew, and a test fails when it is out of
date. What is not an arrow here cannot happen.

A step waits for its dependencies, is ready until `max_parallel` has a place free, is released to
its agent, and runs; it settles as done, failed, skipped or cancelled. Short steps go from released
to done at once: an agent says that it started only after 50 ms. A failure that may be tried again
sends the step into back-off, from where it becomes ready for its next attempt.

A step that waits for an approval or a signal asks instead, and takes no place.

A run goes on until all of its steps have settled. A failure for good, a cancel or the deadline
turns it round: nothing new is released, and attempts that are with agents are told to stop. Under
the policy `stop` the run ends when they have, or ten seconds later without them. Under
`compensate`, what was done is undone meanwhile, each step after the steps that depend on it, and
what attempts that are out may still do is waited for thirty seconds. Then the run owes the log its
`run_done`; once that is there, it has ended. `starlings retry` opens it again: to do what was not
done, or to undo what could not be undone.
"""


def page() -> str:
    """Write the whole page."""
    return f"{INTRO}\n{diagram()}"


if __name__ == "__main__":
    sys.stdout.write(page())
