"""What becomes of records that are to be done again, in words: the findings of a look ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from starlings.messages import AgentDefined


class Fate(StrEnum):
    """What becomes of a record that is to be done again."""

    COUNTS = "counts"
    AGAIN = "again"
    UNDONE_AGAIN = "undone again"
    REFUSED = "refused"
    STOPPED = "stopped"
    JOB = "job"
    REPEAT = "repeat"
    REACTED_AGAIN = "reacted again"
    PLANNED_AGAIN = "planned again"
    RESTARTS = "restarts"
    READ = "read"


#: In words; `True` where something is done that may take effect outside once more.
MEANING: Mapping[Fate, tuple[bool, str]] = {
    Fate.COUNTS: (True, "done; the log has no result of it, so this one counts"),
    Fate.AGAIN: (True, "done again; its result is in the log, so the new one is dropped"),
    Fate.UNDONE_AGAIN: (True, "a compensation, carried out again"),
    Fate.REFUSED: (False, "not done: its compensation follows it closely"),
    Fate.STOPPED: (False, "not done: its run was told to stop"),
    Fate.JOB: (False, "not begun again: its job is at work, and looked after"),
    Fate.REPEAT: (False, "dropped: a repeat of a record that counts as done"),
    Fate.REACTED_AGAIN: (
        True,
        "reacted to again; who heard lately what it emits drops that, others react again",
    ),
    Fate.PLANNED_AGAIN: (True, "planned again; its run is known, so the new plan is dropped"),
    Fate.RESTARTS: (
        True,
        "planned again, AND ITS RUN BEGINS: the coordinator does not know it (any more)",
    ),
    Fate.READ: (False, "read again; what was decided is in the log, and not decided again"),
}


@dataclass(slots=True)
class Entry:
    """A record that is to be done again."""

    partition: int
    offset: int
    id: str
    run_id: str
    fate: Fate
    known: Fate  # what becomes of it where the log has its result
    work: str = ""
    result: str = ""  # id of its result

    def document(self) -> dict[str, object]:
        """Write it for programs."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "id": self.id,
            "run_id": self.run_id,
            "fate": self.fate.value,
        }


@dataclass(slots=True)
class Preview:
    """What would be done again; `uncounted` records beyond the limit were not looked at."""

    entries: list[Entry] = field(default_factory=list)
    uncounted: int = 0
    kept_answers: int = 0  # of work that is done again: calls that are not made again

    @property
    def fates(self) -> dict[Fate, int]:
        """Count the records by what becomes of them."""
        counted = Counter(entry.fate for entry in self.entries)
        return {fate: counted[fate] for fate in Fate if counted[fate]}

    @property
    def runs(self) -> int:
        """How many runs they belong to."""
        return len({entry.run_id for entry in self.entries})


@dataclass(frozen=True, slots=True)
class Effects:
    """What an agent says of itself that tells what a repeat may do outside.

    What is not declared idempotent may take effect again. It is told so by the same idempotency
    key, run/step/attempt, as the first time.
    """

    agent: str
    known: bool = False
    idempotent: tuple[str, ...] = ()  # tools
    undeclared: tuple[str, ...] = ()
    compensates: bool = False

    @classmethod
    def of(cls, agent: str, definition: AgentDefined | None) -> Effects:
        """Read an agent's definition; None: it is not in the registry."""
        if definition is None:
            return cls(agent)
        return cls(
            agent,
            known=True,
            idempotent=tuple(tool.name for tool in definition.tools if tool.idempotent),
            undeclared=tuple(tool.name for tool in definition.tools if not tool.idempotent),
            compensates=definition.compensates,
        )

    def sentences(self) -> list[str]:
        """Say it in words."""
        if not self.known:
            return [f"{self.agent} is not in the registry: what its steps do outside is not known"]
        said = []
        if self.idempotent:
            said.append(f"tools that are declared idempotent: {', '.join(self.idempotent)}")
        if self.undeclared:
            said.append(
                f"tools that may take effect again, as far as is declared: "
                f"{', '.join(self.undeclared)}"
            )
        if not self.idempotent and not self.undeclared:
            said.append("its steps are functions: what they do outside, they do again")
        return said
