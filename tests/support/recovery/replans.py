"""What the log tells of runs that were planned anew: a second opinion, without the core."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlings.messages import Amendment, Plan, PlanAmended

if TYPE_CHECKING:
    from .log import Story

_WHOLE = ("plan", "joined")
_KEPT = (*_WHOLE, "succeeded", "failed", "hopeless", "skipped", "words", "done", "compensable")


@dataclass
class Replans:
    """Amendments of planners: which are accepted, and what must be done again because of them.

    What is accepted may still be refused when it is applied; the log tells that later. So what
    would be wrong only because of an amendment is doubted until then.
    """

    number: int = 0  # of the one that was accepted last
    amendment: Amendment | None = None  # accepted, and not known to be applied
    again: set[str] = field(default_factory=set)  # what it has done again
    before: dict[str, Any] = field(default_factory=dict)
    doubts: list[tuple[int, str]] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)

    def begin(self, story: Story, fact: PlanAmended, number: int) -> None:
        """Note what is to be undone before anything else begins; that is by the plan of before."""
        if number <= self.number or story.plan is None:
            return  # a repeat
        self.apply(story)
        self.number, self.amendment = number, fact.amendment
        replaced = [step.id for step in fact.amendment.replace]
        named = {*fact.amendment.remove, *replaced, *fact.amendment.invalidate}
        begun = {name for name, _ in story.released} | story.skipped | story.words
        begun |= story.inherited
        begun |= {name.partition("[")[0] for name in begun}
        self.again = {name for name in named if name in begun or story.may_have_settled(name)}
        for name in list(self.again):
            self.again |= {name, *story.items(name), *story.dependents(name)}
        story.inherited.difference_update(self.again)
        self.before = {name: copy.deepcopy(getattr(story, name)) for name in _KEPT}
        for known in (story.skipped, story.words):  # what is said from now on may count again
            known.difference_update(self.again)

    def apply(self, story: Story) -> None:
        """Take it that what was accepted has been applied: something begins."""
        amendment, self.amendment = self.amendment, None
        if amendment is None or story.plan is None:
            return
        instead = {step.id: step for step in amendment.replace}
        kept = [s for s in story.plan.steps if s.id not in amendment.remove]
        steps = [*(instead.get(s.id, s) for s in kept), *amendment.add]
        story.plan = Plan.model_construct(steps=steps)
        changed = {*instead, *amendment.remove}
        story.joined = {name: behind - changed for name, behind in story.joined.items()}
        for known in (story.succeeded, story.hopeless):
            known.difference_update(self.again)
        for by_step in (story.failed, story.done, story.compensable):
            for name in self.again:
                by_step.pop(name, None)
        for name, attempt in story.released:
            if name in self.again:
                story.rewound[name] = max(attempt, story.rewound.get(name, 0))
        story.out = {place for place in story.out if place[0] not in self.again}

    def refuse(self, story: Story, number: int) -> None:
        """Take back what was thought to be applied."""
        self.refused.add(number)
        if number != self.number:
            return
        self.amendment = None
        for name, value in self.before.items():
            now = getattr(story, name)
            setattr(story, name, value if name in _WHOLE else value | now)
        self.before = {}

    def doubt(self, name: str, why: str) -> None:
        """Say that something is wrong, unless the amendment that makes it so was not applied."""
        assert name in self.again, why
        self.doubts.append((self.number, why))

    def check(self, story: Story) -> None:
        """Let no doubt remain at the end."""
        left = [why for number, why in self.doubts if number not in self.refused]
        assert not left, f"{left} in {story.plan}"
