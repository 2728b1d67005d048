"""The agent `code`: runs Python in a sandbox, and writes it where a step says in words what for."""

from __future__ import annotations

from .agent import agent

__all__ = ["agent"]
