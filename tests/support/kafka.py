"""Brokers for tests: one for the whole session, shared by the workers of pytest-xdist.

Local brokers are started detached, over folders of the session's run folder, and ended by the
pytest process that made that folder, whatever became of the tests and workers. A run folder that a
killed session left behind is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import structlog
from confluent_kafka import admin as acl

from starlings.broker import VERSION, BrokerSecurity, down, up
from starlings.broker.locks import exclusive
from starlings.broker.ports import HOST, free_port
from starlings.broker.properties import broker_settings
from starlings.messages.access import Right
from support.certificates import Authority

RUN_FOLDER = "STARLINGS_TEST_RUN"
RUN_FOLDERS = f"starlings-tests-{os.getuid()}"
BRING = (
    "`make setup` installs what a local Apache Kafka needs; or set KAFKA_BOOTSTRAP, or start Docker"
)
IMAGE = f"apache/kafka:{VERSION}"
ENGINE_WAIT_S = 3
#: So that tests of a member's death need not wait for ten seconds.
SETTINGS = {"group.min.session.timeout.ms": "1000"}
log = structlog.get_logger(__name__)
PASSWORDS = {"admin": "admin-secret", "app": "app-secret", "spy": "spy-secret"} | {
    name: f"{name}-secret" for name in ("planner", "coordinator", "math", "string", "client")
}


@dataclass(frozen=True)
class Kafka:
    """A broker to test against."""

    bootstrap: str
    description: str


@dataclass(frozen=True)
class SecuredKafka:
    """A broker behind SASL_SSL, SCRAM-SHA-512 (and PLAIN) and ACLs.

    `admin` may do anything, `app` all on topics and groups named `app.…`, the others nothing until
    a test grants it under names of its own; `spy` never.
    """

    bootstrap: str
    cafile: Path
    passwords: dict[str, str] = field(default_factory=lambda: dict(PASSWORDS))

    def environment(self, user: str, *, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Build the KAFKA_ variables with which one of the users connects."""
        return {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": self.passwords[user],
            "KAFKA_SSL_CAFILE": str(self.cafile),
        }

    def allow(self, user: str, prefix: str) -> None:
        """Let a user do everything with topics, groups and transactions under a prefix."""
        kinds = acl.ResourceType.TOPIC, acl.ResourceType.GROUP, acl.ResourceType.TRANSACTIONAL_ID
        self._create(
            [_binding(user, kind, prefix, acl.AclOperation.ALL, prefixed=True) for kind in kinds]
        )

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Give a user exactly these rights, beside those that he has."""
        self._create(
            [
                _binding(
                    user,
                    acl.ResourceType[right.resource.name],
                    right.name,
                    acl.AclOperation[operation.name],
                    prefixed=right.prefixed,
                )
                for right in rights
                for operation in right.operations
            ]
        )

    def _create(self, bindings: list[acl.AclBinding]) -> None:
        client = acl.AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "admin",
                "sasl.password": self.passwords["admin"],
                "ssl.ca.location": str(self.cafile),
            }
        )
        for done in client.create_acls(bindings, request_timeout=20).values():
            done.result(timeout=20)


def _binding(
    user: str, kind: acl.ResourceType, name: str, operation: acl.AclOperation, *, prefixed: bool
) -> acl.AclBinding:
    pattern = acl.ResourcePatternType.PREFIXED if prefixed else acl.ResourcePatternType.LITERAL
    allow = acl.AclPermissionType.ALLOW
    return acl.AclBinding(kind, name, pattern, f"User:{user}", "*", operation, allow)


def open_run_folder(config: pytest.Config) -> None:
    """Make the session's folder, in the first pytest process only; workers inherit its name."""
    if hasattr(config, "workerinput"):
        return
    root = Path(tempfile.gettempdir()) / RUN_FOLDERS
    root.mkdir(exist_ok=True, mode=0o700)
    for left in root.iterdir():
        if not psutil.pid_exists(int(left.name.split("-")[0])):
            _clear(left)
    os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root)


def close_run_folder(config: pytest.Config) -> None:
    """Stop the session's brokers, at the very end of the first pytest process."""
    folder = None if hasattr(config, "workerinput") else os.environ.pop(RUN_FOLDER, None)
    if folder is not None:
        _clear(Path(folder))


def run_folder() -> Path:
    """Name the folder that all processes of this session share."""
    return Path(os.environ[RUN_FOLDER])


def _clear(folder: Path) -> None:
    for broker in folder.glob("*/storage"):
        down(broker.parent)
    shutil.rmtree(folder, ignore_errors=True)


def not_to_be_had(error: BaseException) -> None:
    """Skip on a developer's machine, fail in CI: there a silent gap would go unseen."""
    reason = f"no Apache Kafka for this test: {error}; {BRING}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def session_kafka() -> Iterator[Kafka]:
    """Give the session's broker: the user's, one in Docker where an engine answers, or our own."""
    demanded = os.environ.get("KAFKA_BOOTSTRAP")
    if demanded:
        yield Kafka(demanded, "KAFKA_BOOTSTRAP")
        return
    with contextlib.ExitStack() as stack:
        yield _docker_kafka(stack) or _local_kafka()


def listening_at(address: str, port: int) -> dict[str, str]:
    """Give the settings of a broker that clients reach by an address other than loopback's."""
    client = f"CLIENT://{address}:{port}"
    return {
        **SETTINGS,
        "listeners": f"{client},CONTROLLER://{HOST}:{(controller := free_port())}",
        "advertised.listeners": client,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
    }


def _local_kafka() -> Kafka:
    state = up(run_folder() / "plain", 0, settings=SETTINGS)
    return Kafka(str(state.bootstrap), state.message)


def _docker_kafka(stack: contextlib.ExitStack) -> Kafka | None:
    """Start a container until the stack is left; None without an engine that can get the image."""
    if not _docker_answers():
        return None
    from docker.errors import DockerException  # noqa: PLC0415 - slow, and seldom needed
    from testcontainers.core.exceptions import ContainerStartException  # noqa: PLC0415

    try:
        return stack.enter_context(_in_docker())
    except (DockerException, ContainerStartException, TimeoutError) as error:
        log.warning("no_kafka_in_docker", using="a local one", reason=str(error))
        return None


def _docker_answers() -> bool:
    """Ask the engine, if there is one, and do not wait long for it."""
    import docker  # noqa: PLC0415 - a second of imports that most sessions do without
    import docker.errors  # noqa: PLC0415

    with warnings.catch_warnings():
        # docker's client leaks its socket where nobody answers: let it be collected here
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with contextlib.closing(docker.from_env(timeout=ENGINE_WAIT_S)) as client:
                return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False
        finally:
            gc.collect()


@contextlib.contextmanager
def _in_docker() -> Iterator[Kafka]:
    """Run the official image, one container for each worker, removed at the end."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    port = free_port()
    container = DockerContainer(IMAGE)
    host = container.get_container_host_ip()
    inside = broker_settings(storage=Path("/tmp/storage"), port=port, controller_port=9093)  # noqa: S108
    inside |= SETTINGS
    inside["listeners"] = f"CLIENT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093"
    inside["advertised.listeners"] = f"CLIENT://{host}:{port}"
    for key, value in inside.items():
        container.with_env(f"KAFKA_{key.upper().replace('.', '_')}", value)
    container.with_bind_ports(port, port)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(90))
    with container:
        yield Kafka(f"{host}:{port}", f"{IMAGE} in Docker")


def session_secured_kafka() -> SecuredKafka:
    """Start the session's secured broker, or find the one that another worker started."""
    folder = run_folder() / "secured"
    certificates = run_folder() / "certificates"
    with exclusive(run_folder() / "secured.lock"):
        cafile, keystore = certificates / "ca.pem", certificates / "broker.pem"
        if not keystore.exists():
            Authority(certificates).issue("broker")
        security = BrokerSecurity(keystore, cafile, PASSWORDS)
        state = up(folder, 0, settings=SETTINGS, security=security)
        secured = SecuredKafka(str(state.bootstrap), cafile)
        if state.changed:
            secured.allow("app", "app.")
    return secured
