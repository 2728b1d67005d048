"""What `starlings new agent` says to the chart is true of the agent that it writes."""

from __future__ import annotations

import sys

import pytest
import yaml
from support.helm import CHART, ROOT
from support.manifests import of_kind

from starlings.agents.loading import load_agents
from starlings.agents.waiting import WaitingAgent
from starlings.cli.scaffold import KINDS, write_agent


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_of_a_new_agent_are_true_of_it(helm4, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_agent(f"my-{kind}", kind, tmp_path)
    (agent,) = load_agents(f"{tmp_path / f'my_{kind}.py'}:agent")
    sys.modules.pop(f"my_{kind}", None)
    definition = agent.definition()
    (said,) = yaml.safe_load((tmp_path / "values.yaml").read_text())["agents"].values()

    assert said.get("waits", False) == isinstance(agent, WaitingAgent)
    assert said.get("takesSteps", True) == definition.takes_steps
    assert sorted(said.get("listens", [])) == definition.listens
    assert sorted(said.get("emits", [])) == definition.emits
    text = helm4.render('kafka.bootstrapServers="k:9092"', tmp_path / "values.yaml")
    objects = filter(None, yaml.safe_load_all(text))
    assert f"rel-starlings-agent-my-{kind}" in of_kind(objects, "Deployment")


def test_the_chart_installs_the_version_of_this_checkout():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (line,) = (
        line
        for line in (ROOT / "sdk" / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    )
    assert line == f'version = "{chart["appVersion"]}"'
