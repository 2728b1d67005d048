"""What custom resources of KEDA, Prometheus and Strimzi may have in them, as far as we use them.

A shape is a mapping of allowed fields, a list with the shape of its items, or a type of leaf. A
field beyond these is a typing error until somebody has looked it up and written it down here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TEXTS = {"*": str}
METADATA = {"name": str, "namespace": str, "labels": TEXTS, "annotations": TEXTS}
_KEDA_REFERENCE = {"parameter": str, "name": str, "key": str}
_KEDA_ENVIRONMENT = {"parameter": str, "name": str, "containerName": str}
_KAFKA_TRIGGER = dict.fromkeys(
    (
        "bootstrapServers",
        "consumerGroup",
        "topic",
        "lagThreshold",
        "activationLagThreshold",
        "offsetResetPolicy",
        "sasl",
        "tls",
        "unsafeSsl",
    ),
    str,  # KEDA takes nothing but strings
)
SHAPES: dict[tuple[str, str], dict[str, Any]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): {
        "scaleTargetRef": {"name": str},
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "pollingInterval": int,
        "cooldownPeriod": int,
        "initialCooldownPeriod": int,
        "fallback": {"failureThreshold": int, "replicas": int},
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": int}}
            }
        },
        "triggers": [{"type": str, "metadata": _KAFKA_TRIGGER, "authenticationRef": {"name": str}}],
    },
    ("keda.sh/v1alpha1", "TriggerAuthentication"): {
        "secretTargetRef": [_KEDA_REFERENCE],
        "env": [_KEDA_ENVIRONMENT],
    },
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "selector": {"matchLabels": TEXTS},
        "namespaceSelector": {"matchNames": [str]},
        "endpoints": [
            {
                "port": str,
                "path": str,
                "interval": str,
                "relabelings": [{"sourceLabels": [str], "targetLabel": str}],
            }
        ],
    },
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [
            {
                "name": str,
                "rules": [
                    {"alert": str, "expr": str, "for": str, "labels": TEXTS, "annotations": TEXTS}
                ],
            }
        ]
    },
    ("kafka.strimzi.io/v1", "KafkaTopic"): {
        "topicName": str,
        "partitions": int,
        "replicas": int,
        "config": TEXTS,
    },
    ("kafka.strimzi.io/v1", "KafkaUser"): {
        "authentication": {"type": str},
        "authorization": {
            "type": str,
            "acls": [
                {
                    "resource": {"type": str, "name": str, "patternType": str},
                    "operations": [str],
                }
            ],
        },
    },
}


def misfits(resource: dict[str, Any]) -> list[str]:
    """Name what a custom resource has and may not have."""
    shape = SHAPES.get((resource["apiVersion"], resource["kind"]))
    if shape is None:
        return [f"{resource['apiVersion']} {resource['kind']} is not known here"]
    whole = {"apiVersion": str, "kind": str, "metadata": METADATA, "spec": shape}
    return list(_misfits(resource, whole, resource["kind"]))


def _misfits(value: Any, shape: Any, path: str) -> Iterator[str]:
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for number, item in enumerate(value):
            yield from _misfits(item, shape[0], f"{path}[{number}]")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{path} is no mapping"
            return
        for key, item in value.items():
            if key not in shape and "*" not in shape:
                yield f"{path}.{key} is not allowed"
            else:
                yield from _misfits(item, shape.get(key, shape.get("*")), f"{path}.{key}")
    elif type(value) is not shape:
        yield f"{path} is {value!r}, and has to be of type {shape.__name__}"
