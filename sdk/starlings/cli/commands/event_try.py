"""`starlings agent try --event`: one reaction of an agent, and the events that it emits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlings.agents import Agent
    from starlings.testing import LocalChain


async def try_event(agent: Agent, event: str, payload: Any, *, json: bool) -> int:
    """Hand an agent an event in this process; return the exit code.

    Raises:
        ConfigError: it does not listen to such events.
    """
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.messages import ConfigError  # noqa: PLC0415
    from starlings.testing import LocalChoreography  # noqa: PLC0415

    if event not in agent.reactions:
        heard = ", ".join(agent.reactions) or "no events"
        raise ConfigError(f"{agent.name} does not listen to {event!r}; it listens to {heard}")
    chain = await LocalChoreography([agent]).emit(event, {} if payload is None else payload)
    if json:
        print_json(_document(chain))
    else:
        _show(chain)
    return Exit.FAILED if chain.failed else Exit.OK


def _document(chain: LocalChain) -> dict[str, Any]:
    from pydantic_core import from_json  # noqa: PLC0415 - `--help` stays fast

    return {
        "events": [{"type": each.type, "value": from_json(each.value)} for each in chain.events],
        "handled": [
            each.model_dump(mode="json", exclude={"run_id", "instance"}) for each in chain.handled
        ],
    }


def _show(chain: LocalChain) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.chain_tree import reaction_line  # noqa: PLC0415
    from starlings.cli.printing import clean, console  # noqa: PLC0415

    out = console()
    for handled in chain.handled:
        out.print(reaction_line(handled), soft_wrap=True)
    for event in chain.events[1:]:
        value = clean(event.value.decode(errors="replace"), 2_000)
        out.print(Text.assemble((event.type, "bold"), f"  {value}"), soft_wrap=True)
