"""The agent `http`: calls an API, with secrets by name, and hands back what it answered."""

from __future__ import annotations

from .tool import agent

__all__ = ["agent"]
