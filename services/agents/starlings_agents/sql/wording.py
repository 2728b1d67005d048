"""What a model is told that writes a statement, and how its answers are read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from starlings import StepFailed
from starlings.llm.chat import escaped
from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import agent_role
from starlings_agents.written_text import WrittenText

from .query import SQL_LIMIT

LONGEST_SCHEMA = 60_000
LONGEST_SQL = SQL_LIMIT - len("EXPLAIN ")
_PLAIN = frozenset({"main", "public"})
_SHOWN_ERROR = 4_000
_PROMPT = packaged_prompt("starlings_agents.sql", "ask")


def _without_end(sql: str) -> str:
    return sql.strip().rstrip(";").strip()


def _problems(sql: str) -> list[str]:
    if "\x00" in sql or len(sql) > LONGEST_SQL:
        return [f'"sql" may have {LONGEST_SQL:,} characters at most, and none that is NUL']
    return []


STATEMENT = WrittenText(
    agent="sql_ask",
    field="sql",
    name="statement",
    cleaned=_without_end,
    problems=_problems,
    label=_PROMPT.label,
)


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
        {"role": "user", "content": f"<schema>\n{escaped(schema)}\n</schema>\n\n{task}"},
    ]


def repair_messages(sql: str, problem: str) -> list[dict[str, str]]:
    """Show what the database says against a statement."""
    return STATEMENT.to_mend(sql, "It does not hold", problem[:_SHOWN_ERROR])
