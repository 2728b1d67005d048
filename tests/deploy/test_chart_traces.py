"""Traces by OTLP: programs are told what they understand, and may reach the collector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.helm import RefusedError, rendered
from support.manifests import environment, of_kind, pods, secret_keys

from starlings.telemetry import TelemetrySettings, TelemetrySwitch

TRACED = Path(__file__).parent / "values" / "traced.yaml"
MINIMAL = TRACED.with_name("minimal.yaml")
PROGRAMS = 4


def told(pod) -> dict[str, str]:
    return {name: value for name, value in environment(pod).items() if name.startswith("OTEL_")}


def programs(objects):
    return [(name, pod) for name, pod in pods(objects) if name.startswith("Deployment/")]


def egress(objects):
    policies = of_kind(objects, "NetworkPolicy").values()
    return [policy["spec"]["egress"] for policy in policies]


def test_every_program_understands_where_its_traces_go(helm, monkeypatch):
    found = programs(rendered(helm, TRACED))
    assert len(found) == PROGRAMS
    for name, pod in found:
        variables = told(pod)
        assert ("collector", "otlp") in secret_keys(pod), name
        with monkeypatch.context() as patch:
            for variable, value in variables.items():
                shown = "a=b" if value.startswith("<from") else value
                patch.setenv(variable, shown)
            assert TelemetrySwitch().on
            settings = TelemetrySettings()
        assert settings.address == "https://collector.example.org:4318/v1/traces"
        assert settings.headers == {"a": "b"}
        assert (settings.traces_sampler, settings.traces_sampler_arg) == (
            "parentbased_traceidratio",
            0.05,
        )
        assert settings.resource == {
            "k8s.namespace.name": "birds",
            "deployment.environment.name": "production",
            "team": "birds, and more",
            "shard": "7",
        }


def test_the_job_and_the_test_are_told_nothing(helm4):
    others = [
        (name, pod)
        for name, pod in pods(rendered(helm4, TRACED))
        if not name.startswith("Deployment/")
    ]
    assert others
    assert [told(pod) for _, pod in others] == [{}] * len(others)


def test_without_an_endpoint_nobody_is_told_anything(helm):
    assert [told(pod) for _, pod in pods(rendered(helm, MINIMAL)) if told(pod)] == []


def test_the_collector_may_be_reached_where_it_is(helm):
    rule = {
        "ports": [{"port": 4318, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
    }
    rules = egress(rendered(helm, TRACED))
    assert len(rules) == PROGRAMS
    assert all(rule in each for each in rules)


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("http://collector", 80), ("https://c.example.org/otlp", 443), ("http://[::1]:4318", 4318)],
)
def test_the_port_is_that_of_the_address(helm4, endpoint, port):
    given = [f"otlp.endpoint={json.dumps(endpoint)}", "networkPolicy.enabled=true"]
    objects = [each for each in yaml.safe_load_all(helm4.render(MINIMAL, *given)) if each]
    for rules in egress(objects):
        assert {"ports": [{"port": port, "protocol": "TCP"}]} in rules


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('otlp={"headersSecret": "s"}', "otlp.headersSecret is set, and otlp.endpoint is empty"),
        ('otlp={"endpoint": "http://a:b@c:4318"}', "otlp.endpoint has a password in it"),
        (
            'planner={"env": {"OTEL_TRACES_SAMPLER": "always_on"}}',
            "planner.env (or secretEnv).OTEL_TRACES_SAMPLER: the chart writes it, from otlp.",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(helm, given, says):
    values = [MINIMAL, TRACED] if given.startswith("planner") else [MINIMAL]
    with pytest.raises(RefusedError, match="These values cannot be") as refused:
        helm.render(*values, given)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": "collector:4318"},
        {"sampling": 1.5},
        {"sampling": "0.1"},
        {"headers": "a=b"},
        {"headersSecret": "Not A Name"},
        {"resourceAttributes": {"a b": "c"}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_what_no_setting_can_be(helm, given):
    with pytest.raises(RefusedError, match="otlp"):
        helm.render(MINIMAL, f"otlp={json.dumps(given)}")


def test_who_sets_no_endpoint_here_may_give_the_variables_by_hand(helm4):
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    given = f'planner={{"env": {{"{variable}": "http://collector:4318"}}}}'
    objects = [each for each in yaml.safe_load_all(helm4.render(MINIMAL, given)) if each]
    values = [told(pod) for name, pod in programs(objects) if name.endswith("-planner")]
    assert values == [{variable: "http://collector:4318"}]
