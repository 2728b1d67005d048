"""How consumer groups, and what moving one would do, are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from starlings.messages import Topics
from starlings.replay.done_again import MEANING, Effects, Preview
from starlings.replay.group_moves import GroupMove
from starlings.replay.groups import GroupKind, Standing, short
from starlings.replay.positions import Position

from .printing import clean, print_table
from .times import iso, moment_text

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = 20
HARMLESS = (
    "The coordinator decides nothing twice: what it decided is in the log, and it reads from where "
    "open runs need it anyway. Moving it back is harmless; records that it could not read are put "
    "into the dead letters again, as the same letters."
)


def standing_document(topics: Topics, found: Standing) -> dict[str, Any]:
    """Write where a group stands, for programs."""
    return {
        "group": found.group.id,
        "name": short(topics, found.group),
        "topic": found.group.topic,
        "state": found.state.state,
        "members": [
            {"id": m.id, "host": m.host, "partitions": [p.partition for p in m.places]}
            for m in found.state.members
        ],
        "pending": found.pending,
        "partitions": [_position_document(position) for position in found.positions],
    }


def _position_document(position: Position) -> dict[str, Any]:
    return {
        "partition": position.place.partition,
        "begin": position.begin,
        "offset": position.done.low if position.committed else None,
        "end": position.end,
        "pending": position.pending,
        "done_above": [list(stretch) for stretch in position.done.ranges],
        "rewound_at": iso(position.rewound_ms) if position.rewound_ms else None,
        "restore_from": position.restore_from,
    }


def print_groups(console: Console, topics: Topics, found: Sequence[Standing]) -> None:
    """Print where groups stand, a line each."""
    rows = [
        [
            short(topics, each.group),
            str(len(each.state.members)),
            f"{each.pending:,}",
            each.group.topic,
        ]
        for each in found
    ]
    print_table(console, ("group", "members", "pending", "topic"), rows, right=(1, 2))


def print_standing(console: Console, found: Standing) -> None:
    """Print where a group stands in each partition, and who is in it."""
    console.print(
        Text(f"{found.group.id} reads {found.group.topic}: {found.state.state.lower()}"),
        soft_wrap=True,
    )
    rows = [
        [
            str(p.place.partition),
            str(p.begin),
            str(p.done.low) if p.committed else "-",
            str(p.end),
            f"{p.pending:,}",
            _remark(p),
        ]
        for p in found.positions
    ]
    columns = ("partition", "begin", "offset", "end", "pending", "")
    print_table(console, columns, rows, right=(0, 1, 2, 3, 4))
    for member in found.state.members:
        places = ", ".join(str(place.partition) for place in member.places) or "none"
        line = f"member {clean(member)}, partitions: {places}"
        console.print(Text(line), soft_wrap=True)


def _remark(position: Position) -> str:
    said = []
    if not position.committed:
        said.append("nothing committed yet")
    if position.done.ranges:
        above = sum(end - first for first, end in position.done.ranges)
        said.append(f"{above:,} done above the offset")
    if position.restore_from is not None:
        said.append(f"would read from {position.restore_from}")
    if position.rewound_ms:
        said.append(f"rewound {moment_text(position.rewound_ms)}")
    return "; ".join(said)


# -- a move --------------------------------------------------------------------------------------


def move_document(
    move: GroupMove, preview: Preview, effects: Effects | None, *, done: bool
) -> dict[str, Any]:
    """Write what a move does, for programs."""
    return {
        "group": move.standing.group.id,
        "topic": move.standing.group.topic,
        "moved": done,
        "again": move.again,
        "skipped": move.skipped,
        "runs": preview.runs,
        "fates": {fate.value: count for fate, count in preview.fates.items()},
        "not_looked_at": preview.uncounted,
        "kept_answers": preview.kept_answers,
        "effects": _effects_document(effects),
        "partitions": [
            {
                "partition": each.place.partition,
                "begin": each.before.begin,
                "from": each.before.done.low,
                "to": each.after.low,
                "end": each.before.end,
                "again": [list(stretch) for stretch in each.again],
                "skipped": [list(stretch) for stretch in each.skipped],
                "complete_from": each.before.begin if each.cut else None,
            }
            for each in move.moves
        ],
        "records": [entry.document() for entry in preview.entries],
    }


def _effects_document(effects: Effects | None) -> dict[str, Any] | None:
    if effects is None:
        return None
    return {
        "agent": effects.agent,
        "known": effects.known,
        "idempotent": list(effects.idempotent),
        "undeclared": list(effects.undeclared),
        "compensates": effects.compensates,
    }


def print_move(
    console: Console, move: GroupMove, preview: Preview, effects: Effects | None
) -> None:
    """Print what a move would do: to the partitions, to their records, and outside."""
    group = move.standing.group
    console.print(Text(f"{group.id} reads {group.topic}"), soft_wrap=True)
    _print_partitions(console, move)
    if group.kind is GroupKind.COORDINATOR:
        console.print(Text(HARMLESS), soft_wrap=not console.is_terminal)
    elif preview.entries:
        _print_fates(console, preview)
        if effects is not None and any(MEANING[fate][0] for fate in preview.fates):
            for sentence in effects.sentences():
                console.print(Text(f"{effects.agent}: {clean(sentence, 1000)}"), soft_wrap=True)
    if move.skipped:
        warning = f"{move.skipped:,} records that are not done would never be done"
        console.print(Text(warning, style="bold red"), soft_wrap=True)


def _print_partitions(console: Console, move: GroupMove) -> None:
    rows: list[list[str | Text]] = []
    for each in move.moves:
        count = sum(end - first for first, end in each.again)
        cut = f"retention has left nothing before {each.before.begin}" if each.cut else ""
        rows.append(
            [
                str(each.place.partition),
                str(each.before.done.low),
                str(each.after.low),
                f"{count:,}",
                cut,
            ]
        )
    print_table(console, ("partition", "from", "to", "again", ""), rows, right=(0, 1, 2, 3))


def _print_fates(console: Console, preview: Preview) -> None:
    runs = "run" if preview.runs == 1 else "runs"
    console.print(Text(f"{len(preview.entries):,} records of {preview.runs:,} {runs}:"))
    rows: list[list[str | Text]] = [
        [f"{count:,}", Text(fate.value, style="yellow" if MEANING[fate][0] else "green"),
         MEANING[fate][1]]
        for fate, count in preview.fates.items()
    ]  # fmt: skip
    print_table(console, ("records", "", ""), rows, right=(0,))
    if preview.uncounted:
        console.print(Text(f"{preview.uncounted:,} further records were not looked at"))
    if preview.kept_answers:
        kept = f"{preview.kept_answers:,} of them have kept answers: those calls are not repeated"
        console.print(Text(kept), soft_wrap=True)
    examples: list[list[str | Text]] = [
        [f"{entry.partition}/{entry.offset}", entry.fate.value, clean(entry.id)]
        for entry in preview.entries[:EXAMPLES]
    ]
    print_table(console, ("record", "", "id"), examples, one_line=True)
    if len(preview.entries) > EXAMPLES:
        console.print(Text(f"… and {len(preview.entries) - EXAMPLES:,} more; --json lists all"))
