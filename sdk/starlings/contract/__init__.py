"""The published contract: what other languages and other teams build against.

`schemas/` is generated from the message models and `Topics` by pure functions (`documents`), and
written by `python -m starlings.contract`. Two gates hold it:

- drift: what lies in the folder is what the code generates;
- compatibility: what was released (pinned copies in `schemas/released/`) can still be read by new
  readers, and what is written now can still be read by readers of the released version.
"""

from __future__ import annotations

from .channels import CHANNELS, ROLES, Channel, Role
from .compatibility import breaking_changes
from .folder import broken_releases, drift, release, write
from .publication import documents
from .schemas import message_schema

__all__ = [
    "CHANNELS",
    "ROLES",
    "Channel",
    "Role",
    "breaking_changes",
    "broken_releases",
    "documents",
    "drift",
    "message_schema",
    "release",
    "write",
]
