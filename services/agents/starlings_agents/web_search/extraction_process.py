"""A process of its own that takes the text out of one page: HTML in, JSON out.

A hostile page can keep a parser busy for minutes, so this runs where it can be killed, with
nothing of the agent's environment. It is started as a file, and imports nothing of Starlings.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress

MEMORY_BYTES = 2 * 1024**3
CPU_S = 60
NAMES = ("title", "author", "date", "sitename")


def main() -> None:
    """Read a page from standard input; the address and the size of the answer are arguments."""
    url, limit = sys.argv[1], int(sys.argv[2])
    with suppress(ValueError, OSError):  # a system that has lower limits keeps them
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    page = sys.stdin.buffer.read()
    import trafilatura  # noqa: PLC0415 - after the limits

    found = trafilatura.bare_extraction(
        page, url=url, include_formatting=True, include_comments=False, with_metadata=True
    )
    text = str(getattr(found, "text", None) or trafilatura.html2txt(page) or "").strip()
    said = {name: str(getattr(found, name, None) or "") for name in NAMES}
    sys.stdout.write(json.dumps({**said, "text": text[:limit], "length": str(len(text))}))


if __name__ == "__main__":
    main()
