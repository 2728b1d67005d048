"""What a commit of the coordinator says beside its offset: from where a successor must read."""

from __future__ import annotations

import json


def write_metadata(restore_from: int) -> str:
    """Write the offset metadata of a commit."""
    return json.dumps({"v": 1, "restore_from": restore_from})


def read_metadata(metadata: str | None) -> int | None:
    """Read `restore_from` out of a commit's metadata; None where it is missing or foreign."""
    try:
        value = json.loads(metadata or "").get("restore_from")
    except (ValueError, AttributeError):
        return None
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if known else None
