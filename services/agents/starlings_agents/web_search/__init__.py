"""The agent `web_search`: finds pages, reads them, and sums them up with their sources."""

from __future__ import annotations

from .tools import agent

__all__ = ["agent"]
