"""What a model is told that writes a statement, and how its answers are read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from starlings import StepContext, StepFailed
from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import agent_role

from .query import SQL_LIMIT

LONGEST_SCHEMA = 60_000
LONGEST_SQL = SQL_LIMIT - len("EXPLAIN ")
_PLAIN = frozenset({"main", "public"})
_SHOWN_ERROR = 4_000
_PROMPT = packaged_prompt("starlings_agents.sql", "ask")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sql": {"type": ["string", "null"]},
        "cannot": {"type": ["string", "null"]},
    },
    "required": ["sql", "cannot"],
    "additionalProperties": False,
}


def schema_text(columns: Iterable[tuple[Any, ...]], only: Collection[str] | None) -> str:
    """Write the tables, one a line, as data.

    Raises:
        StepFailed: `unknown_table`, `schema_too_large`.
    """
    tables: dict[str, list[str]] = {}
    for schema, table, column, kind in columns:
        name = str(table) if schema in _PLAIN else f"{schema}.{table}"
        tables.setdefault(name, []).append(f"{column} {kind}")
    if missing := sorted(set(only or ()) - set(tables)):
        there = ", ".join(sorted(tables)[:50])
        raise StepFailed(
            f"`only` names tables that are not there: {', '.join(missing)}; there are: {there}",
            code="unknown_table",
        )
    shown = {name: each for name, each in tables.items() if only is None or name in only}
    lines = (json.dumps({"table": n, "columns": c}, ensure_ascii=False) for n, c in shown.items())
    text = "\n".join(lines)
    if len(text) > LONGEST_SCHEMA:
        raise StepFailed(
            f"{len(shown):,} tables are too much to choose from ({len(text):,} characters, and the "
            f"limit is {LONGEST_SCHEMA:,}): name those that matter in `only`",
            code="schema_too_large",
        )
    return text


def first_messages(kind: str, schema: str, task: str) -> list[dict[str, str]]:
    """Ask for a statement."""
    system = f"{agent_role('sql_ask')}\n{_PROMPT.filled(kind=kind)}"
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": f"<schema>\n{_quoted(schema)}\n</schema>\n\n{task}"},
    ]


def repair_messages(sql: str, problem: str) -> list[dict[str, str]]:
    """Show what the database says against a statement."""
    shown = _quoted(problem[:_SHOWN_ERROR])
    return [
        {"role": "assistant", "content": json.dumps({"sql": sql, "cannot": None})},
        {
            "role": "user",
            "content": f"It does not hold:\n<output>\n{shown}\n</output>\n"
            "Answer with the whole statement, mended, in the same form.",
        },
    ]


async def written(ctx: StepContext, turn: int, messages: list[dict[str, str]]) -> str:
    """Let the model write the statement, or mend it; what it answers is kept.

    Raises:
        StepFailed: `cannot`, the model's own word, or `model_…`.
        TransientError: the model may answer later.
    """
    answer = await ctx.model.structured(
        messages,
        _SCHEMA,
        name="statement",
        validate=_problems,
        adapt=_adapt,
        key=f"statement/{turn}",
        label=_PROMPT.label,
    )
    if not answer["sql"]:
        raise StepFailed(f"agent 'sql_ask' cannot do this: {answer['cannot']}", code="cannot")
    return str(answer["sql"])


def _adapt(answer: Any) -> Any:
    """Bring what models commonly write instead into shape: only one of the two, or fenced SQL."""
    if not isinstance(answer, dict):
        return answer
    sql, cannot = answer.get("sql"), answer.get("cannot")
    if isinstance(sql, str):
        sql = sql.strip()
        if sql.startswith("```"):
            sql = "\n".join(sql.splitlines()[1:]).rstrip().removesuffix("```")
        sql = sql.strip().rstrip(";").strip()
    return {"sql": sql, "cannot": cannot}


def _problems(answer: Any) -> list[str]:
    if not isinstance(answer, dict):
        return ['the answer has to be an object with "sql" and "cannot"']
    sql, cannot = answer.get("sql"), answer.get("cannot")
    if isinstance(sql, str) and sql:
        if "\x00" in sql or len(sql) > LONGEST_SQL:
            return [f'"sql" may have {LONGEST_SQL:,} characters at most, and none that is NUL']
        return []
    if isinstance(cannot, str) and cannot.strip():
        return []
    return ['there is no "sql", and no reason in "cannot"']


def _quoted(text: str) -> str:
    return text.replace("<", "\\u003c")  # so that no data closes its block
