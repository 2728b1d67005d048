"""Health and metrics: what is asked over HTTP, and what is answered."""

from __future__ import annotations

import socket

import httpx
import pytest

from starlings.messages import ConfigError
from starlings.service import HealthServer, Heartbeat, Metric, ServiceMetrics


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return _Clock()


@pytest.fixture
def heartbeat(clock):
    return Heartbeat(10, clock)


@pytest.fixture
def metrics():
    return ServiceMetrics()


@pytest.fixture
def server(heartbeat, metrics):
    server = HealthServer(heartbeat, metrics.registry)
    server.start()
    yield server
    server.stop()


def _ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    answer = httpx.request(method, f"{server.url}{path}", timeout=10, trust_env=False)
    return answer.status_code, answer.text


def test_liveness_is_the_age_of_the_heartbeat(server, heartbeat, clock):
    assert _ask(server, "/healthz") == (200, "ok\n")
    clock.now += 11
    status, text = _ask(server, "/healthz")
    assert status == 503
    assert text == "not alive: no turn of event loop for 11.0 s (limit 10 s)\n"
    heartbeat.beat()
    assert _ask(server, "/healthz") == (200, "ok\n")


def test_a_followed_loop_that_stands_still_fails_liveness_by_name(heartbeat, clock):
    last_turn: list[float | None] = [None]
    heartbeat.follow("consumer", lambda: last_turn[0])
    assert heartbeat.late() is None
    last_turn[0] = clock.now
    clock.now += 11
    heartbeat.beat()
    assert "consumer for 11.0 s" in (heartbeat.late() or "")
    assert heartbeat.age_s() == 11
    heartbeat.unfollow("consumer")
    assert heartbeat.late() is None


def test_readiness_says_why_not(server):
    assert _ask(server, "/readyz") == (503, "not ready: starting\n")
    server.ready_when(lambda: "restoring partition 3")
    assert _ask(server, "/readyz") == (503, "not ready: restoring partition 3\n")
    server.ready_when(lambda: None)
    assert _ask(server, "/readyz") == (200, "ok\n")


def test_readiness_that_raises_is_not_ready(server):
    def broken() -> str | None:
        raise KeyError("x")

    server.ready_when(broken)
    assert _ask(server, "/readyz") == (503, "not ready: readiness cannot be told: KeyError\n")


def test_metrics_are_pulled_when_they_are_asked_for(server, metrics):
    handled = [1]
    metrics.pull(Metric.MESSAGES_HANDLED, lambda: handled[0], topic="events")
    metrics.pull(Metric.RUNNING, lambda: 7)
    handled[0] = 42
    status, text = _ask(server, "/metrics")
    assert status == 200
    assert 'starlings_messages_handled_total{topic="events"} 42.0' in text
    assert "starlings_running 7.0" in text
    assert "process_resident_memory_bytes" in text


def test_a_source_that_raises_costs_only_its_own_number(server, metrics):
    def broken() -> float:
        raise RuntimeError("closed")

    metrics.pull(Metric.RUNNING, broken, agent="math")
    metrics.pull(Metric.RUNNING, lambda: 3, agent="string")
    _, text = _ask(server, "/metrics")
    assert 'starlings_running{agent="string"} 3.0' in text
    assert 'agent="math"' not in text


def test_sources_of_one_metric_must_agree_on_their_labels(metrics):
    metrics.pull(Metric.RUNNING, lambda: 1, agent="math")
    with pytest.raises(ValueError, match="starlings_running has the labels"):
        metrics.pull(Metric.RUNNING, lambda: 1, topic="events")


def test_other_paths_and_methods_are_refused(server):
    assert _ask(server, "/")[0] == 404
    assert _ask(server, "/healthz", "POST")[0] == 405


def test_a_peer_that_says_nothing_holds_up_nobody(server):
    with socket.create_connection(("127.0.0.1", server.port)):
        assert _ask(server, "/healthz")[0] == 200


def test_the_port_can_be_off(heartbeat, metrics):
    server = HealthServer(heartbeat, metrics.registry, port=None)
    server.start()
    assert (server.port, server.url) == (None, None)
    server.stop()


def test_it_listens_on_ipv6_as_well(heartbeat, metrics):
    server = HealthServer(heartbeat, metrics.registry, host="::1")
    try:
        server.start()
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    assert _ask(server, "/healthz")[0] == 200
    server.stop()


def test_a_port_that_is_taken_is_reported_with_its_setting(server, heartbeat, metrics):
    second = HealthServer(heartbeat, metrics.registry, port=server.port)
    with pytest.raises(ConfigError, match=rf"STARLINGS_HEALTH_PORT={server.port}"):
        second.start()
