r"""The fixed lines of our prompts, written and read in one place.

Models read prompts as prose; the offline model (`starlings.llm.offline`) reads them by these lines.
So whoever builds a prompt uses the writers here, and the readers beside them cannot drift apart.

Planner:
    system: `Role: planner`, rules, then `Agents:` followed by `agent_list(…)`
    user:   `Request: <text>`
    answer: `{"steps": [{"id", "agent", "task", "depends_on", "when", "foreach"}], "cannot": null}`,
            where the last two of a step may be null or left out

Planner of a run that is under way:
    system: `Role: replanner`, rules, then `Agents:` as above
    user:   the run as JSON between `<run>` tags, then `Request: <what is to be changed>`:
            `run_lines(…)`
    answer: `{"steps": [as above], "remove": [ids], "again": [ids], "reason": "", "cannot": null}`

Agent that chooses tools:
    system: `Role: agent <name>`, rules, then `Tools:` followed by `tool_list(…)`
    user:   the results of earlier steps as JSON between `<results>` tags (where there are any),
            `Task: <text>`, the step's structured input between `<input>` tags (where it has one):
            `render_task(ready.model_copy(update={"task": task_lines(ready.task, ready.input)}))`
    answer: `{"calls": [{"tool", "args", "reasoning"}], "cannot": null}`, where the argument value
            `"previous"` stands for the output of the call before

One that writes, reviews, edits, answers or judges (no tools):
    system: `Role: writer`, `critic`, `editor`, `panelist` or `judge`, then rules
    user:   as above; what is reviewed, edited or judged stands in the input, as `draft`, `review`,
            `answers`
    answer: a text; of a critic `{"accepted", "score", "points"}`, of a panelist `{"reasoning",
            "answer"}`, of a judge `{"best", "reason"}`

In the first three answers `cannot` is a sentence when the model cannot do it; the list is empty
then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlings.messages.registry import AgentDefined, ToolDefinition

ROLE = "Role: "
PLANNER_ROLE = "Role: planner"
REPLANNER_ROLE = "Role: replanner"
WRITER, CRITIC, EDITOR, PANELIST, JUDGE = "writer", "critic", "editor", "panelist", "judge"
AGENTS_HEADING = "Agents:"
TOOLS_HEADING = "Tools:"
REQUEST = "Request: "
TASK = "Task: "
RESULTS_OPEN, RESULTS_CLOSE = "<results>", "</results>"
RUN_OPEN, RUN_CLOSE = "<run>", "</run>"
INPUT_OPEN, INPUT_CLOSE = "<input>", "</input>"
PREVIOUS = "previous"
GIVE_UP = "give_up"  # a tool by which a model in turns says that it cannot do the task

_TOOL = re.compile(r"^ *- ([A-Za-z_][\w.-]*)\((.*?)\)(?:: (.*))?$")
_AGENT = re.compile(r"^- ([a-z][a-z0-9_-]*)(?:: (.*))?$")
_ARGUMENT = re.compile(r"(?:^|, )([A-Za-z_]\w*)\??: ")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_RESULTS = re.compile(f"^{RESULTS_OPEN}\n(.*?)\n{RESULTS_CLOSE}$", re.DOTALL | re.MULTILINE)
_RUN = re.compile(f"^{RUN_OPEN}\n(.*?)\n{RUN_CLOSE}\n", re.DOTALL)
_INPUT = re.compile(f"\n{INPUT_OPEN}\n(.*?)\n{INPUT_CLOSE}\\s*$", re.DOTALL)


@dataclass(frozen=True)
class ToolLine:
    """What a tool's line says: its name, the names of its arguments, its description."""

    name: str
    arguments: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class AgentLines:
    """What an agent's lines say."""

    name: str
    description: str = ""
    tools: list[ToolLine] = field(default_factory=list)


@dataclass(frozen=True)
class TaskMessage:
    """What a user message to an agent says."""

    task: str
    results: list[dict[str, Any]] = field(default_factory=list)
    input: Any = None


# -- writers -----------------------------------------------------------------------------------


def agent_role(name: str) -> str:
    """Write the line that tells an agent's model who it is."""
    return f"{ROLE}agent {name}"


def role_line(role: str) -> str:
    """Write the line that tells a model without tools who it is."""
    return f"{ROLE}{role}"


def tool_line(tool: ToolDefinition) -> str:
    """Write a tool as `- name(arg: type, …): description`, in one line."""
    required = set(tool.parameters.get("required", []))
    properties = tool.parameters.get("properties", {})
    arguments = ", ".join(_argument(n, s, required=n in required) for n, s in properties.items())
    description = _one_line(tool.description)
    return f"- {tool.name}({arguments})" + (f": {description}" if description else "")


def tool_list(tools: Iterable[ToolDefinition]) -> str:
    """Write tools, a line each, under their heading."""
    return "\n".join([TOOLS_HEADING, *(tool_line(tool) for tool in tools)])


def agent_list(agents: Iterable[AgentDefined]) -> str:
    """Write agents with their tools indented below them, under their heading."""
    lines = [AGENTS_HEADING]
    for agent in agents:
        description = _one_line(agent.description)
        lines.append(f"- {agent.agent}" + (f": {description}" if description else ""))
        lines += [f"  {tool_line(tool)}" for tool in agent.tools]
    return "\n".join(lines)


def request_line(request: str) -> str:
    """Write the planner's user message."""
    return f"{REQUEST}{request}"


def run_lines(run: Any, text: str) -> str:
    """Write a run as a delimited block of data, and what is to be changed about it."""
    data = json.dumps(run, ensure_ascii=False).replace("<", "\\u003c")
    return f"{RUN_OPEN}\n{data}\n{RUN_CLOSE}\n{REQUEST}{text}"


def task_lines(task: str, step_input: Any = None) -> str:
    """Write a step's task, and its structured input (if any) as a delimited block of data."""
    if step_input is None:
        return f"{TASK}{task}"
    # "<" is escaped, so that no input can close the block and speak outside it
    data = json.dumps(step_input, ensure_ascii=False).replace("<", "\\u003c")
    return f"{TASK}{task}\n{INPUT_OPEN}\n{data}\n{INPUT_CLOSE}"


# -- readers -----------------------------------------------------------------------------------


def read_role(system: str) -> str | None:
    """Read the role: `planner`, `agent <name>`, or None where no line states it."""
    found = re.search(rf"^{ROLE}(.+)$", system, re.MULTILINE)
    return found[1].strip() if found else None


def read_tools(system: str) -> list[ToolLine]:
    """Read the tools listed under `Tools:`."""
    return list(_read_tool_lines(_below(system, TOOLS_HEADING)))


def read_agents(system: str) -> list[AgentLines]:
    """Read the agents listed under `Agents:`, with their tools."""
    agents: list[AgentLines] = []
    for line in _below(system, AGENTS_HEADING):
        agent = _AGENT.match(line)
        if agent:
            agents.append(AgentLines(agent[1], agent[2] or ""))
        elif agents:
            agents[-1].tools.extend(_read_tool_lines([line]))
    return agents


def read_request(user: str) -> str:
    """Read the planner's request out of its user message; a manager's has results and input."""
    asked = f"\n{user}".partition(f"\n{REQUEST}")[2] or user
    data = _INPUT.search(asked)
    return (asked[: data.start()] if data else asked).strip()


def read_run(user: str) -> tuple[dict[str, Any], str]:
    """Read a run that is under way, and what is to be changed about it."""
    found = _RUN.search(user)
    run = _read_json(found[1]) if found else None
    text = user[found.end() :] if found else user
    return (run if isinstance(run, dict) else {}), read_request(text)


def read_task(user: str) -> TaskMessage:
    """Read results, task and input out of a user message to an agent."""
    head, separator, tail = f"\n{user}".partition(f"\n{TASK}")
    if not separator:
        head, tail = "", user
    results = _RESULTS.search(head)
    step_input = _INPUT.search(tail)
    return TaskMessage(
        task=(tail[: step_input.start()] if step_input else tail).strip(),
        results=_read_json(results[1]) or [] if results else [],
        input=_read_json(step_input[1]) if step_input else None,
    )


def _argument(name: str, schema: dict[str, Any], *, required: bool) -> str:
    default = schema.get("default")
    if default is not None:
        return f"{name}: {_type(schema)} = {json.dumps(default, ensure_ascii=False)}"
    return f"{name}{'' if required else '?'}: {_type(schema)}"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(kind)
    if kind == "array" and schema.get("items"):
        return f"array of {_type(schema['items'])}"
    return str(kind)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _below(text: str, heading: str) -> Iterator[str]:
    lines = iter(text.splitlines())
    for line in lines:
        if line == heading:
            break
    for line in lines:
        if not line.lstrip().startswith("- "):
            return
        yield line


def _read_tool_lines(lines: Iterable[str]) -> Iterator[ToolLine]:
    for line in lines:
        tool = _TOOL.match(line)
        if tool:
            arguments = _ARGUMENT.findall(_QUOTED.sub('""', tool[2]))
            yield ToolLine(tool[1], tuple(arguments), tool[3] or "")


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
