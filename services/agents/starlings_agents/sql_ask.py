"""The agent `sql_ask`, as a service of its own beside `sql`."""

from __future__ import annotations

from .sql.asking import agent

__all__ = ["agent"]
