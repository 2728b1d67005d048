"""The agent `knowledge_query`, as a service of its own beside `knowledge`."""

from __future__ import annotations

from .knowledge import query as agent

__all__ = ["agent"]
