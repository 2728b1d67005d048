"""What the offline rules write, review, revise and judge: what was found, in a plain form.

They are no language model, and invent nothing: a draft lists what the earlier steps gave, or says
that there is nothing. A review knows three things, whether a text has a title, says what each
earlier step gave, and ends with a sentence that begins with "In short"; a revision mends these.
Whatever else a review demands is named at the end of the text, as not done.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlings.llm.prompts import CRITIC, EDITOR, JUDGE, PANELIST, WRITER, TaskMessage

_RULES = "the offline rules"
_LEAD = re.compile(
    r"^(?:please )?"
    r"(?:write|draft|compose|prepare|report|explain|summari[sz]e|revise|edit|answer|discuss)\b"
    r"(?:.*?\b(?:about|on|of)\b)?[\s:,]*",
    re.IGNORECASE,
)
_FACT_CHARS = 400
_TITLE_CHARS = 80
_POINTS_OFF = 2
_TITLE = "Give the text a title."
_CLOSE = 'End with one sentence that sums it up and begins with "In short".'
_SAY = "Say what the step {step} found."
_NOTHING = f"Nothing was found that could be written here; {_RULES} add nothing of their own."


def write(message: TaskMessage) -> str:
    """Write a draft: a line for each result."""
    return "\n".join(_facts(message).values()) or _NOTHING


def review(message: TaskMessage) -> str:
    """Review the draft in the input."""
    points = _points(_text(_input(message).get("draft")), _facts(message))
    score = max(0, 10 - _POINTS_OFF * len(points))
    return _json({"accepted": not points, "score": score, "points": points})


def revise(message: TaskMessage) -> str:
    """Revise the draft in the input by its review, as far as the rules go."""
    given, facts = _input(message), _facts(message)
    text = _text(given.get("draft")).strip()
    demanded = given.get("review")
    points = demanded.get("points") if isinstance(demanded, dict) else None
    asked = [_text(point) for point in points] if isinstance(points, list) else []
    for step, fact in facts.items():
        if _SAY.format(step=step) in asked:
            text = f"{text}\n{fact}"
    left = [point for point in asked if point not in _known(facts)]
    if left:
        text = f"{text}\n" + "\n".join(f"(Not done by {_RULES}: {point})" for point in left)
    if _TITLE in asked:
        text = f"# {_title(message.task)}\n\n{text}"
    if _CLOSE in asked:
        text = f"{text}\n\nIn short: {_first(text)}"
    return text


def answer(message: TaskMessage) -> str:
    """Answer with what was found first."""
    facts = list(_facts(message).values())
    found = facts[0].removeprefix("- ") if facts else _NOTHING
    return _json({"reasoning": f"{_RULES} take what was found first", "answer": found})


def judge(message: TaskMessage) -> str:
    """Choose the answer that comes first among those given most often."""
    answers = _input(message).get("answers")
    said = [_json(one.get("answer")) for one in answers or [] if isinstance(one, dict)]
    best = Counter(said).most_common(1)[0][0] if said else None
    number = said.index(best) + 1 if best is not None else 1
    return _json({"best": number, "reason": f"{_RULES} weigh no words and take the first"})


ROLES: dict[str | None, Callable[[TaskMessage], str]] = {
    WRITER: write,
    CRITIC: review,
    EDITOR: revise,
    PANELIST: answer,
    JUDGE: judge,
}


def _points(text: str, facts: dict[str, str]) -> list[str]:
    points = [] if text.lstrip().startswith("#") else [_TITLE]
    points += [_SAY.format(step=step) for step, fact in facts.items() if fact not in text]
    if not re.search(r"^In short: ", text, re.MULTILINE):
        points.append(_CLOSE)
    return points


def _known(facts: dict[str, str]) -> set[str]:
    return {_TITLE, _CLOSE, *(_SAY.format(step=step) for step in facts)}


def _facts(message: TaskMessage) -> dict[str, str]:
    """Say what each earlier step gave, a line each; without one, what the input says."""
    rows = [row for row in message.results if isinstance(row, dict)]
    facts = {
        _text(row.get("step")): f"- {_line(row['summary'])}"
        for row in rows
        if isinstance(row.get("summary"), str)
    }
    given = _input(message)
    own = given.get("input", given if not given.keys() & {"draft", "answers"} else None)
    if not facts and own:
        return {"input": f"- {_line(own if isinstance(own, str) else _json(own))}"}
    return facts


def _input(message: TaskMessage) -> dict[str, Any]:
    return message.input if isinstance(message.input, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _FACT_CHARS else line[: _FACT_CHARS - 1] + "…"


def _title(task: str) -> str:
    subject = _LEAD.sub("", " ".join(task.split())).strip(" .") or task.strip()
    return (subject[:1].upper() + subject[1:])[:_TITLE_CHARS]


def _first(text: str) -> str:
    lines = [line.lstrip("- ").strip() for line in text.splitlines()]
    return next((line for line in lines if line and not line.startswith("#")), "nothing was found.")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
