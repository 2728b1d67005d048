"""The pages of the chart say what the chart is."""

from __future__ import annotations

import json
import re
import runpy

import pytest
import yaml
from support.helm import CHART, ROOT, rendered
from support.manifests import of_kind

from starlings.service import Metric

PROGRAM = CHART.parent / "values_page.py"


def test_the_readme_has_the_values_as_they_are():
    program = runpy.run_path(str(PROGRAM))
    before = (CHART / "README.md").read_text()
    assert program["page"](before, (CHART / "values.yaml").read_text()) == before, (
        "run `make chart`"
    )


def test_a_value_without_a_comment_is_found():
    program = runpy.run_path(str(PROGRAM))
    assert list(program["settings"]("a:\n  # -- Said\n  b: 1\n")) == [("a.b", "1", "Said")]
    with pytest.raises(ValueError, match=r"values.yaml, line 4: c has no comment"):
        list(program["settings"]("a:\n  # -- Said\n  b: 1\n  c: 2\n"))


def properties(schema, root):
    if reference := schema.get("$ref"):
        schema = root["definitions"][reference.rsplit("/", 1)[1]]
    return schema.get("properties", {})


def test_every_key_of_the_schema_is_in_the_values():
    """Else there would be a setting that no page tells of."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    own = set(values["defaults"])

    def look(part, given, path):
        for key, inner in properties(part, schema).items():
            if path and path[0] in ("planner", "coordinator", "agentDefaults") and key in own:
                continue  # told of in `defaults`
            assert key in given, ".".join([*path, key])
            if isinstance(given[key], dict) and given[key]:
                look(inner, given[key], [*path, key])

    look(schema, values, [])


def rules(helm):
    objects = rendered(helm, ROOT / "tests" / "deploy" / "values" / "watched.yaml")
    (rule,) = of_kind(objects, "PrometheusRule").values()
    return rule["spec"]["groups"][0]["rules"]


def metrics_of(text):
    return set(re.findall(r"\bstarlings_[a-z_]+", text))


def known_metrics():
    return {metric.value.name for metric in Metric}


def test_each_alert_looks_at_a_metric_that_is_shown_and_links_its_runbook(helm4):
    for rule in rules(helm4):
        assert metrics_of(rule["expr"]) <= known_metrics(), rule["alert"]
        anchor = rule["annotations"]["runbook_url"].rsplit("#", 1)[1]
        assert anchor == rule["alert"].lower()


def test_the_dashboard_looks_at_metrics_that_are_shown():
    dashboard = json.loads((CHART / "dashboards" / "starlings.json").read_text())
    found = {t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])}
    assert set().union(*map(metrics_of, found)) <= known_metrics()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


def test_the_page_for_operators_tells_every_metric():
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(starlings_[a-z_]+)` \|", page, re.MULTILINE)) == known_metrics()
