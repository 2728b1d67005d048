"""The agent `notify`: tells people and systems by Slack, by webhook or by e-mail."""

from __future__ import annotations

from .tools import agent

__all__ = ["agent"]
