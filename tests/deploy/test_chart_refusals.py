"""Values that cannot be are refused with the setting's name; the notes tell what is unwise."""

from __future__ import annotations

import json

import pytest
from support.helm import RefusedError

KAFKA = {"bootstrapServers": "kafka:9092"}
KEDA_TO_ZERO = {"kind": "keda", "minReplicas": 0}
SASL = {**KAFKA, "securityProtocol": "SASL_SSL"}
STRIMZI = {"provision": "strimzi", "strimzi": {"cluster": "main", "users": True}}


def agent(name="math", **settings):
    return {"agents": {name: settings}}


#: What is wrong, the values, and how the message begins.
CONTRADICTIONS = {
    "no Kafka": ({"kafka": {}}, "kafka.bootstrapServers is empty"),
    "no address": ({"kafka": {"bootstrapServers": "a:9092,b"}}, 'kafka.bootstrapServers: "b"'),
    "no SASL secret": ({"kafka": SASL}, "kafka.sasl.existingSecret is empty"),
    "SASL unused": (
        {"kafka": {**KAFKA, "sasl": {"existingSecret": "s"}}},
        "kafka.sasl.existingSecret is set, and kafka.securityProtocol is PLAINTEXT",
    ),
    "no token address": (
        {"kafka": {**SASL, "sasl": {"existingSecret": "s", "mechanism": "OAUTHBEARER"}}},
        "kafka.sasl.tokenUrl is empty",
    ),
    "TLS unused": (
        {"kafka": {**KAFKA, "tls": {"existingSecret": "s"}}},
        "kafka.tls.existingSecret is set, and kafka.securityProtocol is PLAINTEXT",
    ),
    "half a certificate": (
        {"kafka": {**KAFKA, "tls": {"certKey": "tls.crt"}}},
        "kafka.tls.certKey and kafka.tls.keyKey",
    ),
    "certificate of no secret": (
        {"kafka": {**KAFKA, "tls": {"certKey": "c", "keyKey": "k"}}},
        "kafka.tls.existingSecret is empty",
    ),
    "no Strimzi cluster": ({"topics": {"provision": "strimzi"}}, "topics.strimzi.cluster is empty"),
    "users without Strimzi": (
        {"topics": {"strimzi": {"users": True}}},
        "topics.strimzi.users is true, and topics.provision is job",
    ),
    "users without names": ({"topics": STRIMZI}, "topics.strimzi.users: kafka.securityProtocol"),
    "users elsewhere": (
        {"topics": {**STRIMZI, "strimzi": {**STRIMZI["strimzi"], "namespace": "kafka"}}},
        "topics.strimzi.users makes Secrets in topics.strimzi.namespace",
    ),
    "users of another mechanism": (
        {"kafka": {**SASL, "sasl": {"mechanism": "PLAIN"}}, "topics": STRIMZI},
        "topics.strimzi.users: Strimzi makes users for SCRAM-SHA-512",
    ),
    "one user and many": (
        {"kafka": {**SASL, "sasl": {"existingSecret": "s"}}, "topics": STRIMZI},
        "topics.strimzi.users and kafka.sasl.existingSecret exclude each other",
    ),
    "claim not used": (
        {"blobs": {"existingClaim": "c", "url": "s3://b"}},
        "blobs.existingClaim is mounted",
    ),
    "folder of one pod": ({"blobs": {"url": "file:///data"}}, "blobs.url is a folder"),
    "upper case": (agent("Math"), 'agents.Math: "Math" is no name of an agent'),
    "a dot": (agent("math.v2"), 'agents.math.v2: "math.v2" is no name of an agent'),
    "too long for Kafka": (agent("a" * 64), "is no name of an agent"),
    "too long for Kubernetes": (agent("a" * 60), "which has 80 characters, and Kubernetes allows"),
    "no end of a name": (agent("math_"), 'agents.math_: "math_" ends in "_"'),
    "the same in Kubernetes": (
        {"agents": {"a_b": {}, "a-b": {}}},
        "agents.a-b and agents.a_b: both are called",
    ),
    "a variant's name": (agent(variants={"V2": {}}), 'agents.math.variants.V2: "V2" is no name'),
    "variant like an agent": (
        {"agents": {"math": {"variants": {"large": {}}}, "math-large": {}}},
        "both are called",
    ),
    "variant of a variant": (
        agent(variants={"a": {"variants": {"b": {}}}}),
        "agents.math.variants.a.variants: a variant has none",
    ),
    "the usual as variant": (
        agent(variants={"default": {}}),
        "agents.math.variants.default: that is the name of the usual instances",
    ),
    "variants of all": (
        {"agentDefaults": {"variants": {"a": {}}}},
        "agentDefaults.variants: name variants at an agent",
    ),
    "the planner's name": (agent("starlings-planner"), "agents.starlings-planner: that name"),
    "nothing to do": (agent(takesSteps=False), "agents.math: takesSteps is false and listens"),
    "variant without steps": (
        agent(takesSteps=False, listens=["x"], variants={"a": {}}),
        "agents.math.variants.a: the agent takes no steps",
    ),
    "share of nobody": (
        {"planner": {"routing": {"math": {"canary": 0.1}}}},
        "planner.routing.math.canary: agents.math.variants has no canary",
    ),
    "more than all": (
        {
            **agent(variants={"a": {}, "b": {}}),
            "planner": {"routing": {"math": {"a": 0.7, "b": 0.7}}},
        },
        "planner.routing.math: its shares are more than 1",
    ),
    "two numbers": (
        agent(replicas=2, autoscaling={"kind": "keda"}),
        "agents.math.replicas is set, and agents.math.autoscaling.kind is keda",
    ),
    "two autoscalers": (
        agent(autoscaling={"kind": "keda", "hpa": {"metrics": [{"type": "Resource"}]}}),
        "agents.math.autoscaling.hpa.metrics is set, and autoscaling.kind is keda",
    ),
    "two autoscalers, other way": (
        agent(autoscaling={"kind": "hpa", "fallbackReplicas": 2}),
        "agents.math.autoscaling.fallbackReplicas is KEDA's",
    ),
    "least above most": (
        agent(autoscaling={"kind": "keda", "minReplicas": 9}),
        "agents.math.autoscaling.minReplicas is 9, more than maxReplicas",
    ),
    "zero without a scaler": (
        agent(autoscaling={"minReplicas": 0}),
        "agents.math.autoscaling.minReplicas is 0, and its autoscaling.kind is none",
    ),
    "zero by HPA": (
        agent(autoscaling={"kind": "hpa", "minReplicas": 0}),
        "agents.math.autoscaling.minReplicas is 0, which needs autoscaling.kind keda",
    ),
    "zero of the planner": (
        {"planner": {"autoscaling": KEDA_TO_ZERO}},
        "planner.autoscaling.minReplicas is 0: only agents may scale to zero",
    ),
    "zero of a sensor": (
        agent("sensor", autoscaling=KEDA_TO_ZERO),
        "agents.sensor.autoscaling.minReplicas is 0, and it has jobs or sensors",
    ),
    "zero of one's own jobs": (
        agent("orders", image="r/orders:1", waits=True, autoscaling=KEDA_TO_ZERO),
        "agents.orders.autoscaling.minReplicas is 0, and it has jobs or sensors",
    ),
    "zero of a variant with jobs": (
        agent("sql", variants={"large": {"autoscaling": KEDA_TO_ZERO}}),
        "agents.sql.variants.large.autoscaling.minReplicas is 0, and it has jobs or sensors",
    ),
    "variable of the chart": (
        agent(env={"STARLINGS_GRACE_S": "9"}),
        "agents.math.env (or secretEnv).STARLINGS_GRACE_S: the chart writes it, from graceSeconds",
    ),
    "variable of Kafka": (
        {"coordinator": {"secretEnv": {"KAFKA_SASL_PASSWORD": {"secret": "s", "key": "k"}}}},
        "coordinator.env (or secretEnv).KAFKA_SASL_PASSWORD: the chart writes it, from kafka",
    ),
    "a variable twice": (
        agent(env={"A": "1"}, secretEnv={"A": {"secret": "s", "key": "k"}}),
        "agents.math.env.A is in secretEnv as well",
    ),
}

#: Values that are wrong by themselves: the path that both versions of Helm name.
MISTAKES = {
    "unknown at the top": ({"kafak": {}}, "kafak"),
    "unknown in an agent": (agent(replcas=2), "replcas"),
    "unknown in a variant": (agent(variants={"a": {"imge": "x"}}), "imge"),
    "unknown in autoscaling": (agent(autoscaling={"enabled": True}), "enabled"),
    "two kinds of autoscaler": (agent(autoscaling={"kind": "keda+hpa"}), "kind"),
    "protocol": ({"kafka": {**KAFKA, "securityProtocol": "SSL_SASL"}}, "securityProtocol"),
    "prefix": ({"topics": {"prefix": "a b"}}, "prefix"),
    "no prefix": ({"topics": {"prefix": ""}}, "prefix"),
    "event type": (agent(listens=["Ticket-Created"]), "listens"),
    "words for a number": (agent(partitions="many"), "partitions"),
    "secret without a key": (agent(secretEnv={"A": {"secret": "s"}}), "key"),
}


def refusal(helm, values):
    given = {"kafka": KAFKA, **values}
    with pytest.raises(RefusedError) as refused:
        helm.render(*(f"{name}={json.dumps(value)}" for name, value in given.items()))
    return str(refused.value)


@pytest.mark.parametrize("case", CONTRADICTIONS, ids=str)
def test_a_contradiction_is_refused_with_the_settings_name(helm4, case):
    values, message = CONTRADICTIONS[case]
    assert message in refusal(helm4, values)


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_an_unknown_or_impossible_value_is_refused_by_the_schema(helm, case):
    values, named = MISTAKES[case]
    said = refusal(helm, values)
    assert "schema" in said
    assert named in said


def test_all_contradictions_are_told_at_once(helm):
    values = {"kafka": SASL, **agent("Math"), "topics": {"provision": "strimzi"}}
    said = refusal(helm, values)
    for name in ("kafka.sasl.existingSecret", "agents.Math", "topics.strimzi.cluster"):
        assert f"  - {name}" in said


def notes(helm, **values):
    given = {"kafka": KAFKA, **values}
    text = helm.render(*(f"{n}={json.dumps(v)}" for n, v in given.items()), notes=True)
    return text.split("NOTES:\n", 1)[1]


def test_the_notes_say_what_to_type_next_and_what_is_unwise(helm4):
    said = notes(helm4)
    assert "kubectl -n birds get pods -l app.kubernetes.io/instance=rel" in said
    assert "WARNING: agents is empty" in said
    assert "WARNING: blobs.url is empty" in said
    assert "WARNING: openai.existingSecret and openai.baseUrl are empty" in said
    quiet = notes(
        helm4,
        blobs={"url": "s3://b"},
        openai={"existingSecret": "model"},
        **agent(partitions=8, replicas=8),
    )
    assert "WARNING" not in quiet
    assert 'exec deploy/rel-starlings-planner -- starlings run "' in quiet


def test_more_instances_than_partitions_are_warned_of(helm4):
    said = notes(
        helm4,
        topics={"partitions": 2},
        planner={"replicas": 3},
        **agent(autoscaling={"kind": "keda", "maxReplicas": 12}, variants={"a": {"partitions": 1}}),
    )
    assert "WARNING: planner.replicas is 3, and its topic has 2 partitions: 1 instances" in said
    assert "agents.math.autoscaling.maxReplicas is 12, and its topic has 8 partitions" in said
    assert "agents.math.variants.a.autoscaling.maxReplicas is 12, and its topic has 1" in said
    assert "coordinator.replicas" not in said
