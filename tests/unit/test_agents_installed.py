"""Agents that installed packages offer, what is missing for them, and what `dev` makes of that."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest

from starlings.agents.installed import offered_agents
from starlings.agents.loading import load_agents
from starlings.cli.dev import cast
from starlings.cli.system import TOGETHER, USUAL, unique_services
from starlings.messages import ConfigError

BIRDS = """
    from starlings import Agent
    lark = Agent("lark", description="Sings")
    @lark.step
    def sing(task: str) -> str:
        return task
    seen = []
"""


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder of installed packages, with one that offers agents."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "birds.py").write_text(textwrap.dedent(BIRDS))
    yield tmp_path
    for name in ("birds", "needy", "own"):
        sys.modules.pop(name, None)


def install(site: Path, offers: str, *, package: str = "aviary", requires: str = "") -> None:
    """Put a package there, as an installer leaves it."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {package}\nVersion: 1.0\n{requires}"
    )
    (info / "entry_points.txt").write_text(f"[starlings.agents]\n{offers}\n")


def offer(name):
    (found,) = offered_agents(name)
    return found


def test_any_package_can_offer_agents_by_an_entry_point(site):
    install(site, "lark = birds:lark")
    assert (offer("lark").spec, offer("lark").package) == ("birds:lark", "aviary")
    assert load_agents("lark")[0].description == "Sings"
    assert "lark" in [
        program.agent.name for program in cast([], builtin=True, everything=True).programs
    ]


@pytest.mark.parametrize(
    ("requires", "missing"),
    [
        ('Requires-Dist: not-there>=2; extra == "wings"', "needs not-there: "),
        ("Requires-Dist: also_not[x]<3; extra == 'Wings'", "needs also_not: "),
        ('Requires-Dist: pydantic>=2; extra == "wings"', None),
        ('Requires-Dist: not-there; extra == "claws"', None),
        ("Requires-Dist: not-there", None),
        ('Requires-Dist: not-there; extra == "wings" and python_version < "3"', None),
    ],
)
def test_an_agent_whose_extra_is_not_installed_says_how_to_get_it(site, requires, missing):
    install(site, "lark = birds:lark [wings]", requires=requires)
    said = offer("lark").missing
    assert said == (missing and missing + "pip install 'aviary[wings]'")


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ("lark = birds:lark [wings]", "needs not-there: pip install 'aviary[wings]'"),
        (
            "lark = nowhere:agent",
            "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("lark = birds:seen", "is a list, and has to be an Agent"),
        ("wren = birds:lark", "is the agent 'lark': name the entry point like the agent"),
        ("math = birds:lark", "a name that is taken"),
    ],
)
def test_an_agent_that_cannot_run_is_left_out_with_the_reason_and_the_others_run(
    site, offers, words
):
    install(
        site,
        offers,
        package="zoo" if offers.startswith("math") else "aviary",
        requires='Requires-Dist: not-there; extra == "wings"',
    )
    everything = cast([], builtin=True, everything=True)
    (left_out,) = everything.left_out
    assert left_out.name == offers.split()[0]
    assert words in left_out.why.replace("zoo", "aviary")
    names = [program.agent.name for program in everything.programs]
    assert set(USUAL) <= set(names)
    assert len(names) == len(offered_agents()) - 1


def test_what_is_missing_is_told_where_an_agent_cannot_even_be_imported(site):
    (site / "needy.py").write_text("import not_there")
    requires = 'Requires-Dist: not-there; extra == "wings"'
    install(site, "needy = needy:agent [wings]", requires=requires)
    with pytest.raises(ConfigError, match=r"pip install 'aviary\[wings\]'"):
        load_agents("needy")


def test_every_built_in_agent_is_there_where_all_extras_are_installed():
    missing = {offer.name: offer.missing for offer in offered_agents() if offer.missing}
    assert missing == {}
    assert {offer.package for offer in offered_agents()} == {"starlings-agents"}
    assert version("starlings-agents")


def test_without_all_only_agents_run_that_need_nothing_more():
    chosen = cast([], builtin=True)
    assert [program.agent.name for program in chosen.programs] == list(USUAL)
    assert cast([], builtin=False).programs == []


def test_installed_agents_share_a_process_and_named_ones_have_their_own(site):
    (site / "own.py").write_text(textwrap.dedent(BIRDS).replace('"lark"', '"math"'))
    chosen = cast([str(site / "own.py"), "sql"], builtin=True)
    services = {service.name: service.argv[3:] for service in unique_services(chosen.programs)}
    assert services == {
        TOGETHER: [f"starlings_agents.{name}:agent" for name in USUAL if name != "math"],
        "agent math": [str(site / "own.py")],
        "agent sql": ["sql"],
    }
    assert [program.agent.name for program in chosen.reloaded] == ["math", "sql"]


def test_an_agent_that_is_named_twice_is_refused():
    with pytest.raises(ConfigError, match="two agents are named 'math'"):
        cast(["math", "starlings_agents.math:agent"], builtin=True)
