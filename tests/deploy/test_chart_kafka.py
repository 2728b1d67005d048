"""Topics, groups, lag and rights on Kafka are those that the programs' own code computes."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from support.helm import CHART, rendered
from support.manifests import environment, of_kind

from starlings.messages import AgentDefined, AgentTopic, Topics
from starlings.messages.access import (
    rights_of_agent,
    rights_of_coordinator,
    rights_of_planner,
    rights_of_watcher,
)
from starlings.messages.base import AGENT_PATTERN

VALUES = Path(__file__).parent / "values"


def read(values):
    return yaml.safe_load(values.read_text())


def topics_of(values):
    return Topics(read(values).get("topics", {}).get("prefix", "starlings."))


def agents_of(values):
    """The agents of a file of values, with what they are laid over."""
    document = read(values)
    for name, own in document.get("agents", {}).items():
        merged = document.get("agentDefaults", {}) | (own or {})
        if merged.get("enabled", True):
            yield name, merged


def groups_of(topics, name, labels, agents):
    """The groups that a program reads in, with their topics, as its own code names them."""
    component = labels["app.kubernetes.io/component"]
    if component != "agent":
        return {
            "planner": {(topics.planner_group, topics.requests)},
            "coordinator": {(topics.coordinator_group, topics.events)},
        }[component]
    agent, variant = labels["starlings.dev/agent"], labels["starlings.dev/variant"]
    if variant != "default":
        return {(topics.agent_group(agent, variant), topics.steps(agent, variant))}
    settings = agents[agent]
    groups = set()
    if settings.get("takesSteps", True):
        groups.add((topics.agent_group(agent), topics.steps(agent)))
    for event in settings.get("listens", []):
        groups.add((topics.event_group(agent, event), topics.facts(event)))
    return groups


def test_keda_looks_at_the_groups_and_topics_that_the_program_reads(helm4, values):
    topics, agents = topics_of(values), dict(agents_of(values))
    objects = rendered(helm4, values)
    authentications = of_kind(objects, "TriggerAuthentication")
    for name, scaled in of_kind(objects, "ScaledObject").items():
        triggers = scaled["spec"]["triggers"]
        told = {(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in triggers}
        assert told == groups_of(topics, name, scaled["metadata"]["labels"], agents)
        for trigger in triggers:
            assert trigger["metadata"]["offsetResetPolicy"] == "earliest"
            assert "excludePersistentLag" not in trigger["metadata"]
            reference = trigger.get("authenticationRef", {}).get("name")
            assert reference is None or reference in authentications
            assert (reference is None) == (read(values)["kafka"].get("securityProtocol") is None)


def test_an_hpa_looks_at_the_groups_and_topics_that_the_program_reads(helm4, values):
    topics, agents = topics_of(values), dict(agents_of(values))
    for name, hpa in of_kind(rendered(helm4, values), "HorizontalPodAutoscaler").items():
        told = {
            (labels["consumergroup"], labels["topic"])
            for metric in hpa["spec"]["metrics"]
            if metric["type"] == "External"
            for labels in [metric["external"]["metric"]["selector"]["matchLabels"]]
        }
        if (
            not agents[hpa["metadata"]["labels"]["starlings.dev/agent"]]
            .get("autoscaling", {})
            .get("hpa")
        ):
            assert told == groups_of(topics, name, hpa["metadata"]["labels"], agents)


def test_keda_reads_the_secrets_that_the_pods_read(helm4, values):
    objects = rendered(helm4, values)
    deployments = of_kind(objects, "Deployment")
    for name, authentication in of_kind(objects, "TriggerAuthentication").items():
        pod = deployments[name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        needed = json.dumps(pod)
        for reference in authentication["spec"].get("secretTargetRef", []):
            assert f'"name": "{reference["name"]}"' in needed
            assert f'"key": "{reference["key"]}"' in needed
        for reference in authentication["spec"].get("env", []):
            assert reference["containerName"] == container["name"]
            assert reference["name"] in environment(pod)


def test_an_agent_that_may_scale_to_zero_says_so_to_the_planner(helm4, values):
    objects = rendered(helm4, values)
    deployments = of_kind(objects, "Deployment")
    for name, scaled in of_kind(objects, "ScaledObject").items():
        variables = environment(deployments[name]["spec"]["template"]["spec"])
        to_zero = scaled["spec"]["minReplicaCount"] == 0
        assert (variables.get("STARLINGS_SCALES_FROM_ZERO") == "true") == to_zero
        # it enters the registry before it goes
        assert (scaled["spec"].get("initialCooldownPeriod", 0) > 0) == to_zero


def specs_of(values):
    """The topics that an installation needs, as the code has them."""
    topics = topics_of(values)
    specs = topics.core_specs(partitions=read(values).get("topics", {}).get("partitions", 4))
    for name, settings in agents_of(values):
        partitions = settings.get("partitions", 8)
        definition = AgentDefined(
            agent=name,
            takes_steps=settings.get("takesSteps", True),
            listens=settings.get("listens", []),
            emits=settings.get("emits", []),
            topics=[AgentTopic(**topic) for topic in settings.get("ownTopics", [])],
        )
        specs += topics.specs_of([definition], partitions=partitions)
        for variant, own in settings.get("variants", {}).items():
            count = own.get("partitions", partitions)
            specs += topics.agent_specs(name, variant, partitions=count)
    return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.partitions)}


def files(*names):
    """Parametrize by these files of values alone."""
    paths = [VALUES / f"{name}.yaml" for name in names]
    return pytest.mark.parametrize("values", paths, ids=names)


@files("strimzi", "strimzi-mutual-tls")
def test_strimzis_topics_are_as_the_programs_want_them(helm4, values):
    made = of_kind(rendered(helm4, values), "KafkaTopic")
    wanted = specs_of(values)
    assert {t["spec"]["topicName"] for t in made.values()} == set(wanted)
    for each in made.values():
        spec = wanted[each["spec"]["topicName"]]
        assert each["spec"]["partitions"] == spec.partitions
        assert each["spec"]["config"] == spec.settings
        assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@files("agents", "choreography", "keda-secured", "minimal", "watched")
def test_the_job_makes_the_topics_that_the_programs_want(helm4, values):
    (job,) = of_kind(rendered(helm4, values), "Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    args = container["args"]
    assert args[:2] == ["topics", "ensure"]
    pairs = list(itertools.pairwise(args))
    agents = dict(value.split("=") for option, value in pairs if option == "--agent")
    facts = dict(value.split("=") for option, value in pairs if option == "--fact")
    topics, wanted = topics_of(values), specs_of(values)
    steps = {spec.name: spec for spec in wanted.values() if topics.agent_of(spec.name)}
    assert {topics.steps(name): int(count) for name, count in agents.items()} == {
        name: spec.partitions for name, spec in steps.items()
    }
    assert {topics.facts(name): int(count) for name, count in facts.items()} == {
        name: spec.partitions for name, spec in wanted.items() if topics.event_type_of(name)
    }


def rights_of(topics, labels, agents):
    """What a program may do on Kafka, as the code lists it."""
    component = labels["app.kubernetes.io/component"]
    if component != "agent":
        return {"planner": rights_of_planner, "coordinator": rights_of_coordinator}[component](
            topics
        )
    settings = agents[labels["starlings.dev/agent"]]
    variant = labels["starlings.dev/variant"]
    definition = AgentDefined(
        agent=labels["starlings.dev/agent"],
        listens=settings.get("listens", []),
        emits=settings.get("emits", []),
        topics=[AgentTopic(**topic) for topic in settings.get("ownTopics", [])],
    )
    return rights_of_agent(topics, definition, None if variant == "default" else variant)


def told(rights):
    return {
        (right.resource.value, right.name, right.prefixed, operation.value)
        for right in rights
        for operation in right.operations
    }


def granted(user):
    """What a user of Strimzi's may do; its operations are written as in DescribeConfigs."""
    return {
        (
            acl["resource"]["type"],
            acl["resource"]["name"],
            acl["resource"]["patternType"] == "prefix",
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper(),
        )
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }


@files("strimzi", "strimzi-mutual-tls")
def test_each_program_has_a_kafka_user_that_may_do_what_is_listed_and_no_more(helm4, values):
    objects = rendered(helm4, values)
    users, deployments = of_kind(objects, "KafkaUser"), of_kind(objects, "Deployment")
    topics, agents = topics_of(values), dict(agents_of(values))
    assert set(users) == set(deployments) | {"rel-starlings-test"}
    assert granted(users["rel-starlings-test"]) == told(rights_of_watcher(topics))
    for name, deployment in deployments.items():
        listed = rights_of(topics, deployment["metadata"]["labels"], agents)
        assert granted(users[name]) == told(listed), name


def test_a_lag_threshold_is_what_an_instance_works_on_at_once(helm4):
    values = VALUES / "keda-secured.yaml"
    scaled = of_kind(rendered(helm4, values), "ScaledObject")

    def threshold(name):
        return scaled[f"rel-starlings-{name}"]["spec"]["triggers"][0]["metadata"]["lagThreshold"]

    assert [threshold(n) for n in ("planner", "agent-math", "agent-writer")] == [
        "16",
        "8",
        "100000000",
    ]
    assert scaled["rel-starlings-agent-math"]["spec"]["maxReplicaCount"] == 8


def test_names_that_the_chart_takes_are_names_of_agents():
    template = CHART / "templates" / "_checks.tpl"
    assert AGENT_PATTERN in template.read_text()
