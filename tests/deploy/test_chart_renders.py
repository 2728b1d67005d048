"""Helm 3 and 4 render the chart, for a matrix of values, into objects that Kubernetes takes."""

from __future__ import annotations

import json

import kubernetes_validate
import yaml
from support.custom_resources import misfits
from support.helm import CHART, rendered
from support.manifests import of_kind, pods

#: The oldest that Chart.yaml allows, and the newest that is known here, by the version of Helm.
VERSIONS = {3: "1.27", 4: "1.37"}


def test_helm_lints_the_chart_strictly(helm, values):
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), "-f", str(values))


def test_all_that_is_rendered_is_what_kubernetes_takes(helm, values):
    objects = rendered(helm, values)
    assert objects
    for each in objects:
        said = f"{each['kind']}/{each['metadata']['name']}"
        if "." in each["apiVersion"].split("/")[0] and "k8s.io" not in each["apiVersion"]:
            assert misfits(each) == [], said
        else:
            kubernetes_validate.validate(each, VERSIONS[helm.major], strict=True)


def test_objects_have_names_of_their_own_in_the_releases_namespace(helm4, values):
    objects = rendered(helm4, values)
    named = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(named) == len(set(named))
    extra = [each for each in objects if each["metadata"]["name"] == "more-rel"]
    assert all(each["metadata"]["namespace"] == "birds" for each in objects if each not in extra)


def test_both_versions_of_helm_render_the_same(helm3, helm4, values):
    def told(helm):
        return sorted(json.dumps(each, sort_keys=True) for each in rendered(helm, values))

    assert told(helm3) == told(helm4)


def test_pods_run_as_nobody_with_a_read_only_root_and_no_token(helm4, values):
    for name, pod in pods(rendered(helm4, values)):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is name.endswith("agent-container"), name
        writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
        assert "/tmp" in writable, name  # noqa: S108 - the pod's own
        assert container["resources"]["limits"]["memory"], name


def test_what_is_mounted_is_a_volume_and_the_other_way_round(helm4, values):
    for name, pod in pods(rendered(helm4, values)):
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_selectors_find_their_own_pods_alone(helm4, values):
    objects = rendered(helm4, values)
    deployments = of_kind(objects, "Deployment")
    pods_labels = {n: d["spec"]["template"]["metadata"]["labels"] for n, d in deployments.items()}
    for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        for name, each in of_kind(objects, kind).items():
            selector = each["spec"].get("selector") or each["spec"]["podSelector"]
            wanted = selector["matchLabels"].items()
            assert [n for n, labels in pods_labels.items() if wanted <= labels.items()] == [name]


def test_the_job_of_topics_needs_nothing_that_the_chart_makes(helm4, values):
    objects = rendered(helm4, values)
    made = {each["metadata"]["name"] for each in objects if each["kind"] in ("ConfigMap", "Secret")}
    for job in of_kind(objects, "Job").values():
        pod = job["spec"]["template"]["spec"]
        assert "serviceAccountName" not in pod
        assert not any(f'"{name}"' in json.dumps(pod) for name in made)


def test_a_job_without_hooks_is_a_new_one_for_each_change(helm4):
    def name(agents):
        text = helm4.render(
            'kafka.bootstrapServers="k:9092"', "topics.job.hook=false", f"agents={agents}"
        )
        return next(iter(of_kind(filter(None, yaml.safe_load_all(text)), "Job")))

    one, more, other = "{}", '{"math":{}}', '{"math":{"partitions":16}}'
    assert len({name(one), name(more), name(other)}) == 3
    assert name(other) == name(other)
