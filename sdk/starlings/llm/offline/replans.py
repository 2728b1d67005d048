"""Change the plan of a run by rules: a step that failed is done again; a few words are understood.

without s2; skip s2, s3; remove s2
do s2 again; redo s2 and s3
s2: count the words in 'a b'         (instead of what the step does)
anything else: a request, whose steps are added
"""

from __future__ import annotations

import re
from typing import Any

from starlings.llm.prompts import AgentLines

from .expressions import NotUnderstood
from .plans import make_plan

_IDS = r"((?:[\w:-]+)(?:(?:\s*,\s*|\s+and\s+)(?:[\w:-]+))*)"
_WITHOUT = re.compile(rf"(?:without|skip|remove|leave out)\s+{_IDS}\.?$", re.IGNORECASE)
_AGAIN = re.compile(rf"(?:redo\s+{_IDS}|do\s+{_IDS}\s+again)\.?$", re.IGNORECASE)
_INSTEAD = re.compile(r"([\w:-]+):\s+(.+)$", re.DOTALL)
_BETWEEN = re.compile(r"\s*,\s*|\s+and\s+")


def change_plan(run: dict[str, Any], text: str, agents: list[AgentLines]) -> dict[str, Any]:
    """Return what is to be added, replaced, removed or done again.

    Raises:
        NotUnderstood: it is beyond the rules, or no agent here does it.
    """
    steps = {str(step.get("id")): step for step in run.get("steps", []) if isinstance(step, dict)}
    asked_by = run.get("asked_by")
    if asked_by in steps and steps[asked_by].get("state") == "failed":
        return {"again": [asked_by], "reason": f"{asked_by} failed: it is tried once more"}
    text = str(run.get("why") or text).strip()
    if (found := _WITHOUT.match(text)) and (ids := _known(found[1], steps)):
        return {"remove": ids, "steps": _freed(steps, set(ids)), "reason": text}
    if (found := _AGAIN.match(text)) and (ids := _known(found[1] or found[2], steps)):
        return {"again": ids, "reason": text}
    if (found := _INSTEAD.match(text)) and found[1] in steps:
        return {"steps": [_instead(steps[found[1]], found[2], agents)], "reason": text}
    return {"steps": _added(text, set(steps), agents), "reason": text}


def _known(text: str, steps: dict[str, Any]) -> list[str]:
    ids = _BETWEEN.split(text)
    return ids if all(name in steps for name in ids) else []


def _freed(steps: dict[str, Any], gone: set[str]) -> list[dict[str, Any]]:
    """Let the steps that depended on others do without them."""
    left = [step for name, step in steps.items() if name not in gone]
    return [
        _step(step, step["task"], [name for name in step["depends_on"] if name not in gone])
        for step in left
        if gone & set(step["depends_on"])
    ]


def _step(step: dict[str, Any], task: str, depends_on: list[str]) -> dict[str, Any]:
    return {"id": step["id"], "agent": step["agent"], "task": task, "depends_on": depends_on}


def _instead(step: dict[str, Any], text: str, agents: list[AgentLines]) -> dict[str, Any]:
    planned = make_plan(text, agents)
    if len(planned) != 1:
        raise NotUnderstood(f"{text!r} as one step")
    task = str(planned[0]["task"])
    return {**_step(step, task, step["depends_on"]), "agent": planned[0]["agent"]}


def _added(text: str, taken: set[str], agents: list[AgentLines]) -> list[dict[str, Any]]:
    """Plan a request, under ids that no step has."""
    first = next(n for n in range(1, len(taken) + 2) if not _clashes(n, taken))
    planned = make_plan(text, agents)
    names = {step["id"]: f"n{first}-{step['id']}" for step in planned}
    return [
        {
            "id": names[step["id"]],
            "agent": step["agent"],
            "task": re.sub(r"\bs\d+\b", lambda m: names.get(m[0], m[0]), step["task"]),
            "depends_on": [names[name] for name in step["depends_on"]],
        }
        for step in planned
    ]


def _clashes(number: int, taken: set[str]) -> bool:
    return any(name.startswith(f"n{number}-") for name in taken)
