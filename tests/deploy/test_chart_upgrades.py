"""What an older chart installed, today's changes in place, as far as rendering it tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.helm import rendered
from support.older_charts import OLDER

#: What Kubernetes refuses to change, by kind. A Job that is no hook cannot change at all.
FIXED = {
    "Deployment": lambda each: each["spec"]["selector"],
    "Job": lambda each: each["spec"],
    "KafkaTopic": lambda each: each["spec"].get("topicName"),
}
#: What may be made anew: it holds neither work nor data, and nobody else refers to it.
REMADE = {"Pod", "Job"}

#: Values with settings that the first chart did not know, and so refuses.
NEWER = {"traced"}
VALUES = sorted((Path(__file__).parent / "values").glob("*.yaml"))


@pytest.fixture(
    params=[path for path in VALUES if path.stem not in NEWER], ids=lambda path: path.stem
)
def values(request) -> Path:
    """Each file of values that older charts know, in turn."""
    return request.param


@pytest.fixture(params=OLDER, ids=lambda path: path.stem)
def older(request, helm4, values):
    """The objects of an older chart, by kind and name."""
    text = helm4.run("template", "rel", str(request.param), "-n", "birds", "-f", str(values))
    return _by_name(yaml.safe_load_all(text))


def test_there_is_an_older_chart():
    assert OLDER


def test_nothing_is_changed_that_kubernetes_refuses_to_change(helm4, values, older):
    today = _by_name(rendered(helm4, values))
    for (kind, name), each in older.items():
        if kind in FIXED and (kind, name) in today and not _is_hook(each):
            assert FIXED[kind](today[kind, name]) == FIXED[kind](each), f"{kind}/{name}"


def test_all_that_runs_or_scales_or_keeps_data_keeps_its_name(helm4, values, older):
    today = _by_name(rendered(helm4, values))
    gone = {key for key in older.keys() - today.keys() if key[0] not in REMADE}
    assert not gone, "an upgrade would remove these, and their pods with them"


def _by_name(objects):
    return {(each["kind"], each["metadata"]["name"]): each for each in objects if each}


def _is_hook(each):
    return "helm.sh/hook" in each["metadata"].get("annotations", {})
