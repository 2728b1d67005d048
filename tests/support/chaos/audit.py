"""The audit: every rule, applied to all that is known of a scenario.

A rule never excuses what it cannot explain by a blow that was really struck. What at-least-once
allows is written down in `rules_effects.py`, nowhere else.
"""

from __future__ import annotations

from . import refold, rules_effects, rules_runs, rules_undo
from .evidence import Evidence
from .findings import Finding, Rule

RULES: tuple[Rule, ...] = (
    *rules_runs.RULES,
    *rules_effects.RULES,
    *rules_undo.RULES,
    *refold.RULES,
)


def audit(evidence: Evidence) -> list[Finding]:
    """Apply every rule."""
    return [finding for rule in RULES for finding in rule(evidence)]
