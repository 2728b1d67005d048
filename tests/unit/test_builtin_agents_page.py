"""The page about the built-in agents names them all, with settings, extras and steps that fit."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

import starlings_agents
from starlings.agents.installed import offered_agents
from starlings.messages import Plan

PAGE = (Path(__file__).parents[2] / "docs" / "builtin-agents.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[`(\w+)`\]\(#([\w-]+)\) \| .+? \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADINGS = {
    re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
}
OFFERS = {offer.name: offer for offer in offered_agents()}
STEPS = [step for block in FENCE.findall(PAGE) for step in yaml.safe_load(block)]


def test_every_built_in_agent_has_a_row_that_leads_to_its_section():
    rows = {name: anchor for name, anchor, _, _ in ROW.findall(PAGE)}
    assert sorted(rows) == sorted(OFFERS)
    assert set(rows.values()) <= HEADINGS


def test_every_row_names_the_extra_without_which_the_agent_cannot_work():
    extras = {name: extra for name, _, _, extra in ROW.findall(PAGE)}
    for name, offer in OFFERS.items():
        for extra in offer.entry.extras:
            assert f"`{extra}`" in extras[name]


def test_every_setting_of_an_agent_is_explained():
    cells = re.findall(r"^\| (`STARLINGS.+?) \|", PAGE, re.MULTILINE)
    explained = {name for cell in cells for name in named(cell)}
    wanted = set(settings())
    assert len(wanted) > 30
    assert wanted <= explained, wanted - explained


def named(cell: str) -> set[str]:
    """Read `A_HOST`, `…_PORT`: the second has the same beginning, wherever that ends."""
    first, *short = re.findall(r"`([^`]+)`", cell)
    begins = [first[:i] for i, letter in enumerate(first) if letter == "_"]
    return {first} | {begin + rest[1:] for begin in begins for rest in short}


def settings() -> Iterator[str]:
    for found in pkgutil.walk_packages(starlings_agents.__path__, "starlings_agents."):
        if found.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(found.name)).values():
            if isinstance(value, type) and value.__module__ == found.name:
                yield from _names(value)


def _names(kind: type) -> Iterator[str]:
    if not issubclass(kind, BaseSettings):
        return
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        yield alias if isinstance(alias, str) else f"{prefix}{name}".upper()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["id"])
def test_every_step_on_the_page_is_one_that_its_agent_takes(step: dict[str, Any]):
    alone = {key: value for key, value in step.items() if key != "depends_on"}
    plan = Plan.model_validate({"steps": [alone]})
    agent = OFFERS[plan.steps[0].agent].load()
    if agent.tools:
        assert "task" in step or "tool" in step
        if "tool" in step:
            assert agent.tools[step["tool"]].problems(_filled(step["args"])) == []
    elif agent.step_function is not None and "input" in step:
        adapter = agent.step_function._input_adapter
        assert adapter is not None
        adapter.validate_python(_filled(step["input"]))


def _filled(given: dict[str, Any]) -> Any:
    """Put something in the place of results of earlier steps."""
    text = json.dumps(given)
    table = {
        "uri": "file:///t",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "media_type": "application/vnd.apache.parquet",
    }
    text = re.sub(r'"\{\{steps\.\w+\.output\.table\}\}"', json.dumps(table), text)
    return json.loads(re.sub(r"\{\{steps\.[\w.]+\}\}", "1", text))
