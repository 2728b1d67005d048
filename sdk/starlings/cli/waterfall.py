"""A run as a waterfall in the terminal's width, with the critical path marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.replay.timeline import Bar, Lane, Part, Timeline

from .printing import clean
from .times import duration_text, iso

SHOWN_LANES = 60
SHOWN_PATH = 40
NARROWEST = 12
MARK = "▶ "
_LOOKS: dict[Part, tuple[str, str]] = {
    Part.PLANNING: ("▓", "blue"),
    Part.QUEUE: ("░", "yellow"),
    Part.RUNNING: ("█", "green"),
    Part.BACKOFF: ("┄", "red"),
    Part.HELD: ("·", "dim"),
    Part.ASKING: ("?", "magenta"),
    Part.UNDO_QUEUE: ("◦", "magenta"),
    Part.UNDOING: ("▒", "magenta"),
}
_WELL = frozenset({"ok", "done", ""})


def print_timeline(console: Console, timeline: Timeline) -> None:
    """Draw each step's waiting and work, then what the critical path is made of."""
    lanes = _of_interest(timeline.lanes)
    heads = [_head(lane) for lane in lanes]
    left = min(max((head.cell_len for head in heads), default=0), console.width // 3)
    tails = [_tail(lane) for lane in lanes]
    right = min(max((tail.cell_len for tail in tails), default=0), console.width // 4)
    width = max(console.width - left - right - 4, NARROWEST)
    _print(console, _axis(timeline, left, width))
    for lane, head, tail in zip(lanes, heads, tails, strict=True):
        head.truncate(left, overflow="ellipsis", pad=True)
        tail.truncate(right, overflow="ellipsis")
        _print(console, head + Text("  ") + _drawn(lane, timeline, width) + Text("  ") + tail)
    if len(timeline.lanes) > len(lanes):
        more = len(timeline.lanes) - len(lanes)
        _print(console, Text(f"and {more:,} more steps: --json has all of them", style="dim"))
    console.print()
    _print_path(console, timeline)
    _print(console, _legend(lanes))


def _print(console: Console, line: Text) -> None:
    console.print(line, no_wrap=True, crop=True)


def _of_interest(lanes: Sequence[Lane]) -> list[Lane]:
    """Choose of many steps those on the critical path, then those that took longest."""
    if len(lanes) <= SHOWN_LANES:
        return list(lanes)

    def rank(at: int) -> tuple[bool, int]:
        lane = lanes[at]
        return not lane.is_critical, -sum(bar.length_ms for bar in lane.bars)

    shown = sorted(range(len(lanes)), key=rank)[:SHOWN_LANES]
    return [lanes[at] for at in sorted(shown)]


def _head(lane: Lane) -> Text:
    mark = MARK if lane.is_critical else "  "
    name = clean(lane.step_id or "(plan)", 40)
    return Text.assemble((mark, "bold red"), (name, "bold"), "  ", (clean(lane.agent, 30), "cyan"))


def _tail(lane: Lane) -> Text:
    took = duration_text(sum(bar.length_ms for bar in lane.bars) / 1000)
    again = f" ×{lane.attempts}" if lane.attempts > 1 else ""  # noqa: RUF001 - times
    bad = "" if lane.outcome in _WELL else f" {lane.outcome}"
    return Text.assemble((took + again, "dim"), (bad, "red"))


def _axis(timeline: Timeline, left: int, width: int) -> Text:
    end = duration_text(timeline.length_ms / 1000) + ("" if timeline.has_ended else " so far")
    half = duration_text(timeline.length_ms / 2000)
    middle = width // 2
    line = f"{'0':<{middle}}{half}"
    line = f"{line[: width - len(end)]:<{width - len(end)}}{end}" if len(end) < width else end
    return Text(" " * (left + 2) + line, style="dim")


def _drawn(lane: Lane, timeline: Timeline, width: int) -> Text:
    """Paint the bars of a lane; work is never too short to be seen."""
    scale = width / max(timeline.length_ms, 1)
    line: list[tuple[str, str]] = [(" ", "")] * width
    for bar in sorted(lane.bars, key=lambda bar: bar.part in (Part.RUNNING, Part.UNDOING)):
        first = min(int((bar.begin_ms - timeline.begin_ms) * scale), width - 1)
        end = max(int((bar.end_ms - timeline.begin_ms) * scale), first + 1)
        for cell in range(max(first, 0), min(end, width)):
            line[cell] = _look(bar)
    return Text.assemble(*line)


def _look(bar: Bar) -> tuple[str, str]:
    sign, style = _LOOKS[bar.part]
    if bar.outcome not in _WELL and bar.part in (Part.RUNNING, Part.UNDOING):
        style = "red"
    return sign, f"bold {style}" if bar.is_critical else f"{style} dim" if style != "dim" else style


def _print_path(console: Console, timeline: Timeline) -> None:
    total = max(timeline.length_ms, 1)
    parts = ", ".join(
        f"{part.value} {duration_text(ms / 1000)} ({100 * ms / total:.0f} %)"
        for part, ms in timeline.shares().items()
        if ms
    )
    steps = [name for name, _ in groupby(_names(timeline))]
    way = " → ".join(steps[:SHOWN_PATH]) + (" → …" if len(steps) > SHOWN_PATH else "")
    console.print(Text.assemble((f"{MARK}critical path  ", "bold red"), way or "(none)"))
    console.print(Text(f"  {duration_text(timeline.length_ms / 1000)}: {parts}"))


def _names(timeline: Timeline) -> Iterator[str]:
    for stretch in timeline.path:
        if stretch.step_id and stretch.bar.part not in (Part.BACKOFF, Part.HELD):
            undoing = stretch.bar.part in (Part.UNDO_QUEUE, Part.UNDOING)
            yield f"{'undo ' if undoing else ''}{clean(stretch.step_id, 40)}"


def _legend(lanes: Sequence[Lane]) -> Text:
    there = {bar.part for lane in lanes for bar in lane.bars}
    line = Text("  ")
    for part, (sign, style) in _LOOKS.items():
        if part in there:
            line.append(sign, style=style).append(f" {part.value}  ", style="dim")
    return line


def timeline_document(timeline: Timeline) -> dict[str, Any]:
    """Describe a waterfall for programs."""
    return {
        "run_id": timeline.run_id,
        "begin": iso(timeline.begin_ms),
        "end": iso(timeline.end_ms),
        "ended": timeline.has_ended,
        "duration_ms": timeline.length_ms,
        "critical_path": [
            {"step_id": each.step_id, **_bar(each.bar, timeline)} for each in timeline.path
        ],
        "shares_ms": {part.value: ms for part, ms in timeline.shares().items()},
        "steps": [
            {
                "step_id": lane.step_id,
                "agent": lane.agent,
                "attempts": lane.attempts,
                "outcome": lane.outcome,
                "critical": lane.is_critical,
                "bars": [_bar(bar, timeline) for bar in lane.bars],
            }
            for lane in timeline.lanes
        ],
    }


def _bar(bar: Bar, timeline: Timeline) -> dict[str, Any]:
    return {
        "part": bar.part.value,
        "attempt": bar.attempt,
        "from_ms": bar.begin_ms - timeline.begin_ms,
        "to_ms": bar.end_ms - timeline.begin_ms,
        "outcome": bar.outcome or None,
        "critical": bar.is_critical,
    }
