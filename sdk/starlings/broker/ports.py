"""Ports of loopback that programs of this machine may be told to listen on.

A port is chosen before the program that listens on it has started. Until then a client could be
given it, another process could choose it, and so could we, for the next program.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque

from starlings.messages.errors import ConfigError

HOST = "127.0.0.1"
#: Below the ports that Linux and macOS hand out to clients: a client that retries a connection to
#: a dead broker's port there can be given that very port and connect to itself.
FREE_PORTS = range(20_000, 32_000)
_lately_given: deque[int] = deque(maxlen=1_000)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Find a free port that no client is given by chance; another one each time."""
    for _ in range(1_000):
        port = secrets.choice(FREE_PORTS)  # whoever seeds `random` seeds it alike in each process
        if port not in _lately_given and is_free(port):
            _lately_given.append(port)
            return port
    raise ConfigError(f"no free port between {FREE_PORTS.start} and {FREE_PORTS.stop} on {HOST}")
