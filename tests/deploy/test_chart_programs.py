"""What the chart tells programs is what they understand: settings, ports, groups, grace periods."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.helm import CHART, rendered
from support.manifests import environment, of_kind, pods, secret_keys

from starlings.agents.loading import builtin_agents
from starlings.agents.service import AgentSettings
from starlings.agents.waiting import WaitingAgent
from starlings.kafka.settings import KafkaSettings
from starlings.llm.settings import LlmSettings
from starlings.service.run import LEAVE_S
from starlings.service.settings import ServiceSettings, variable_name
from starlings.telemetry import TelemetrySettings
from starlings_coordinator.settings import CoordinatorSettings
from starlings_planner.settings import PlannerSettings

SETTINGS = {
    "planner": PlannerSettings,
    "coordinator": CoordinatorSettings,
    "agent": AgentSettings,
    "topics": ServiceSettings,
    "test": ServiceSettings,
}
OWN = re.compile(r"^STARLINGS_(SEARCH|SQL)_")  # those of one agent, given in values
MARGIN_S = 2 * LEAVE_S + 5


def names_of(settings):
    return {variable_name(settings, field) for field in settings.model_fields}


def programs(objects):
    for name, deployment in of_kind(objects, "Deployment").items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        yield name, labels, deployment["spec"]["template"]["spec"]


def component(objects, name):
    kind, name = name.split("/")
    labels = of_kind(objects, kind)[name]
    labels = labels["metadata"] if kind == "Pod" else labels["spec"]["template"]["metadata"]
    return labels["labels"]["app.kubernetes.io/component"]


@pytest.fixture
def understood(monkeypatch):
    """Reads settings out of a pod's environment, as its program would."""

    def read(settings, variables):
        with monkeypatch.context() as patch:
            for name in names_of(settings):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, "as in the secret" if value.startswith("<from") else value)
            return settings()

    return read


def test_every_variable_is_one_that_the_program_knows(helm4, values):
    objects = rendered(helm4, values)
    for name, pod in pods(objects):
        kind = component(objects, name)
        known = names_of(SETTINGS[kind]) | names_of(KafkaSettings) | {"HOME"}
        if kind in ("planner", "agent"):
            known |= names_of(LlmSettings)
        if kind in ("planner", "coordinator", "agent"):
            known |= names_of(TelemetrySettings)
        unknown = {v for v in environment(pod) if v not in known and not OWN.match(v)}
        assert unknown == set(), name


def test_programs_understand_every_value(helm4, values, understood):
    objects = rendered(helm4, values)
    for name, pod in pods(objects):
        variables = environment(pod) | {"STARLINGS_INSTANCE": "rel-starlings-agent-math-7d9f-x2x4"}
        settings = understood(SETTINGS[component(objects, name)], variables)
        assert settings.log_format == "json"
        kafka = understood(KafkaSettings, variables)
        mounted = {"KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"}
        for variable in mounted & variables.keys():
            assert variables[variable].startswith("/etc/starlings/kafka/")
        elsewhere = {"ssl_cafile": None, "ssl_certfile": None, "ssl_keyfile": None}
        kafka.model_copy(update=elsewhere).check()


def test_probes_ask_the_port_that_the_program_listens_on(helm4, values, understood):
    for name, labels, pod in programs(rendered(helm4, values)):
        settings = understood(
            SETTINGS[labels["app.kubernetes.io/component"]],
            environment(pod) | {"STARLINGS_INSTANCE": "x"},
        )
        (container,) = pod["containers"]
        (port,) = container["ports"]
        assert port["containerPort"] == settings.health_port, name
        assert settings.health_host == "0.0.0.0"  # noqa: S104 - the pod's own address
        probes = [container[f"{p}Probe"]["httpGet"] for p in ("startup", "liveness", "readiness")]
        assert [probe["port"] for probe in probes] == [port["name"]] * 3
        assert [probe["path"] for probe in probes] == ["/healthz", "/healthz", "/readyz"]


def test_pods_have_longer_to_end_than_their_programs_take(helm4, values, understood):
    for name, labels, pod in programs(rendered(helm4, values)):
        settings = understood(
            SETTINGS[labels["app.kubernetes.io/component"]],
            environment(pod) | {"STARLINGS_INSTANCE": "x"},
        )
        assert pod["terminationGracePeriodSeconds"] >= settings.grace_s + MARGIN_S, name


def test_secrets_that_are_needed_are_those_that_were_named(helm4, values):
    text = values.read_text()
    for name, pod in pods(rendered(helm4, values)):
        for secret, _key in secret_keys(pod):
            own_user = secret == name.split("/")[1] or secret.endswith("-test")
            assert secret in text or ("users: true" in text and own_user), (name, secret)


def test_replicas_are_said_where_no_autoscaler_says_them(helm4, values):
    objects = rendered(helm4, values)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in objects
        if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")
    }
    said = {n for n, d in of_kind(objects, "Deployment").items() if "replicas" in d["spec"]}
    assert said == set(of_kind(objects, "Deployment")) - scaled


def test_ones_own_agent_is_three_lines_of_values(helm4):
    values = Path(__file__).parent / "values" / "agents.yaml"
    deployments = of_kind(rendered(helm4, values), "Deployment")
    (container,) = deployments["rel-starlings-agent-orders"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == "registry.example.org/orders:1.0"
    assert "command" not in container
    canary = deployments["rel-starlings-agent-orders-canary"]["spec"]
    assert canary["replicas"] == 2
    assert environment(canary["template"]["spec"])["STARLINGS_VARIANT"] == "canary"
    assert "rel-starlings-agent-gone" not in deployments


def test_the_chart_knows_which_agents_have_jobs_and_sensors(helm4):
    waiting = sorted(a.name for a in builtin_agents() if isinstance(a, WaitingAgent))
    template = (CHART / "templates" / "_programs.tpl").read_text()
    (said,) = re.findall(r'define "starlings.waiting" -}}\n(.*)\n', template)
    assert said.split() == waiting
