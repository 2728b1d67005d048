"""The broker's settings: one KRaft node on loopback, small and quick, plain or secured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from starlings.messages.errors import ConfigError

from .ports import HOST

WORD = re.compile(r"^[A-Za-z0-9._~!@#%^*+:/-]+$")
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True)
class BrokerSecurity:
    """SASL_SSL with SCRAM-SHA-512 and PLAIN, and ACLs that allow nobody but the admin at first.

    The listener between controller and broker stays plain on loopback: this is for development
    and tests of secured clients, not for production. The users are written when the storage is
    formatted: over a folder that has data, `reset` first.
    """

    keystore_pem: Path  # the private key (PKCS#8), the certificate, and its chain
    truststore_pem: Path  # the authority's certificate
    users: Mapping[str, str] = field(repr=False)  # name → password
    admin: str = "admin"
    client_certificates: Literal["none", "requested", "required"] = "none"

    def __post_init__(self) -> None:
        """Refuse what could not be written into Kafka's login configuration unharmed."""
        if self.admin not in self.users:
            raise ConfigError(f"security.users must have a password for the admin {self.admin!r}")
        for name, password in self.users.items():
            if not WORD.match(name) or not WORD.match(password):
                raise ConfigError(
                    f"security.users: the name or password of {name!r} has a character other than "
                    "letters, digits and . _ ~ ! @ # % ^ * + : / -; choose another"
                )

    def settings(self) -> dict[str, str]:
        """Render what the secured listener needs."""
        own = f'username="{self.admin}" password="{self.users[self.admin]}"'
        known = " ".join(f'user_{name}="{word}"' for name, word in sorted(self.users.items()))
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": f"{SCRAM} {own};",
            "listener.name.client.plain.sasl.jaas.config": f"{PLAIN} {own} {known};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore_pem.resolve()),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.truststore_pem.resolve()),
            "ssl.client.auth": self.client_certificates,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS is the controller's plain loopback listener
            "super.users": f"User:{self.admin};User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def format_arguments(self) -> list[str]:
        """Render the users for the formatting of the storage."""
        pairs = sorted(self.users.items())
        return [
            part
            for name, word in pairs
            for part in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={word}]")
        ]


def broker_settings(
    *, storage: Path, port: int, controller_port: int, security: BrokerSecurity | None = None
) -> dict[str, str]:
    """Settings of a single node: broker and controller in one process, all replication 1."""
    protocol = "SASL_SSL" if security else "PLAINTEXT"
    client = f"CLIENT://{HOST}:{port}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"{client},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": client,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,CLIENT:{protocol}",
        "log.dirs": str(storage),
        "auto.create.topics.enable": "false",
        "num.partitions": "1",
        **dict.fromkeys(REPLICATED_ONCE, "1"),
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "1",
        **SMALL_AND_QUICK,
        **(security.settings() if security else {}),
    }


REPLICATED_ONCE = (
    "default.replication.factor",
    "min.insync.replicas",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
)
SMALL_AND_QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.io.buffer.size": "65536",
    # A restart after kill -9 waits until the old registration has expired.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
}


def render(settings: Mapping[str, str]) -> str:
    """Write Java properties; backslashes are doubled, as the format demands."""
    for key, value in settings.items():
        if "\n" in key + value or "\r" in key + value:
            raise ConfigError(f"broker setting {key!r} has a line break in it")
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in settings.items())
