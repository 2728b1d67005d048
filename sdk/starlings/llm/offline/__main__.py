"""`python -m starlings.llm.offline --port N`: the offline model as a process of its own.

Prints its base URL as the first line of standard output when it is ready.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import closing
from socket import socket

from starlings.messages.errors import ConfigError

from .answers import ANNOUNCEMENT
from .server import Server, base_url, listen


class _Announcing(Server):
    """Prints the address once it answers there."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(base_url(sockets[0]), flush=True)  # noqa: T201


def main() -> int:
    """Serve until SIGINT or SIGTERM; exit 2 where the address cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m starlings.llm.offline", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free port")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    options = parser.parse_args()
    try:
        listener = listen(options.host, options.port)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(ANNOUNCEMENT, file=sys.stderr, flush=True)  # noqa: T201
    server = _Announcing()
    # uvicorn raises the signal that stopped it once more when it is done: a stop is no failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    with closing(listener):
        server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
