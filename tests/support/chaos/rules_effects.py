"""Rules about what the agents did: from their journal, which knows nothing of the log.

At least once, by these reasons and no others. An execution may be followed by another one of the
same attempt, under the same idempotency key, where

- its process was killed, or told to stop, while it was at it, or within `SLACK_S` after: the result
  may have been published and not been committed, or not even published;
- the broker was away meanwhile: the result, or its commit, did not arrive in time;
- instances of the agents came or went meanwhile, and the partition moved to another process before
  the result came, unless the step was long enough for its owner to have claimed it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from .evidence import Blow, Evidence, Execution
from .findings import Finding, Rule

SLACK_S = 2.0  # of a loaded machine, between an effect and the commit of its result
ENDS = {"kill", "stop"}
OUTAGES = {"kill_broker", "freeze_broker"}
AGENT = "agent"


def keys_are_as_promised(evidence: Evidence) -> Iterator[Finding]:
    """The idempotency key names the attempt, so that a repeat can be recognised."""
    for each in evidence.executions:
        of_attempt = f"{each.run_id}/{each.step_id}/{each.attempt}"
        if each.key != (f"{of_attempt}/compensation" if each.undoes else of_attempt):
            text = f"attempt {each.attempt} of {each.step_id} had the key {each.key!r}"
            yield Finding("one key", each.run_id, text)


def a_step_takes_effect_once(evidence: Evidence) -> Iterator[Finding]:
    """What has taken effect is not done again under another key."""
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in evidence.executions:
        if each.end == "did":
            keys[each.run_id, each.step_id].add(each.key)
    for (run_id, step_id), found in keys.items():
        if len(found) > 1:
            text = f"{step_id} took effect under several keys: {sorted(found)}"
            yield Finding("effect once", run_id, text)


def what_is_reported_was_done(evidence: Evidence) -> Iterator[Finding]:
    """A result that says ok stands for an effect."""
    did = {each.what for each in evidence.executions if each.end == "did"}
    for what, rows in evidence.results().items():
        if any(row.message.outcome == "ok" for row in rows) and what not in did:
            text = f"attempt {what[2]} of {what[1]} is reported as done, and was not"
            yield Finding("effect once", what[0], text, tuple(row.place for row in rows))


def repeats_have_a_reason(evidence: Evidence) -> Iterator[Finding]:
    """An attempt is executed again only where at-least-once allows it."""
    for key, executions in by_key(evidence).items():
        for earlier, later in pairwise(executions):
            tried_again = earlier.undoes and earlier.end == "stumbled"
            if not (tried_again or _excused(evidence, earlier, later)):
                text = (
                    f"{key} was begun again after it {earlier.end or 'was cut off'}: at "
                    f"{earlier.began_s:.3f} by {earlier.pid}, at {later.began_s:.3f} by {later.pid}"
                )
                yield Finding("effect once", earlier.run_id, text)


def steps_follow_their_dependencies(evidence: Evidence) -> Iterator[Finding]:
    """No step begins before all that it depends on has ended."""
    began: dict[tuple[str, str], float] = {}
    ended: dict[tuple[str, str], float] = {}
    for each in evidence.executions:
        if each.undoes:
            continue
        step = each.run_id, each.step_id
        began[step] = min(each.began_s, began.get(step, each.began_s))
        if each.ended_s is not None and each.end in ("did", "failed"):
            ended[step] = min(each.ended_s, ended.get(step, each.ended_s))
    for run_id, asked in evidence.asked.items():
        for step in asked.steps:
            at_s = began.get((run_id, step["id"]))
            for name in step["depends_on"] if at_s is not None else ():
                if ended.get((run_id, name), float("inf")) > at_s:
                    text = f"{step['id']} began before {name} had ended"
                    yield Finding("order", run_id, text)


def by_key(evidence: Evidence) -> dict[str, list[Execution]]:
    """Put executions of the same attempt, or of the same undoing, together in their order."""
    found: dict[str, list[Execution]] = defaultdict(list)
    for each in evidence.executions:
        found[f"{each.run_id}/{each.step_id}/{each.attempt}/{each.undoes}"].append(each)
    return found


def _excused(evidence: Evidence, earlier: Execution, later: Execution) -> bool:
    start_s = earlier.began_s
    end_s = (later.began_s if earlier.ended_s is None else earlier.ended_s) + SLACK_S
    lasted_s = (later.began_s if earlier.ended_s is None else earlier.ended_s) - start_s
    limit_s = evidence.claimed_after_s
    claimed = limit_s is not None and lasted_s > limit_s
    for blow in evidence.blows:
        if not blow.overlaps(start_s, end_s):
            continue
        own = blow.kind in ENDS and blow.pid == earlier.pid
        moved = _moves_partitions(blow) and earlier.pid != later.pid and not claimed
        if own or moved or blow.kind in OUTAGES:
            return True
    return False


def _moves_partitions(blow: Blow) -> bool:
    return blow.victim.startswith(AGENT)


RULES: tuple[Rule, ...] = (
    keys_are_as_promised,
    a_step_takes_effect_once,
    what_is_reported_was_done,
    repeats_have_a_reason,
    steps_follow_their_dependencies,
)
