"""A knowledge base in two services: `knowledge` takes commands, `knowledge_query` answers.

What has been learned and forgotten lies on a compacted topic, keyed by document. The write side
publishes there and keeps nothing; each instance of the read side builds a store of its own from it.
"""

from __future__ import annotations

from .log import MemoryLog, knowledge_in_memory
from .read import query
from .write import agent

__all__ = ["MemoryLog", "agent", "knowledge_in_memory", "query"]
