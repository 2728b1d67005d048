"""Finding agents by name, and what is said where there is none."""

from __future__ import annotations

import sys
import textwrap

import pytest

from starlings.agents.loading import builtin_agents, load_agents
from starlings.messages import ConfigError

TWO = """
    from starlings import Agent
    birds = Agent("birds", description="Flies")
    fish = Agent("fish", description="Swims")
    also_birds = birds
    both = [birds, fish]
    number = 5

    @birds.step
    def fly(task: str) -> str:
        return task

    @fish.step
    def swim(task: str) -> str:
        return task
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), dict(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def names(spec):
    return [agent.name for agent in load_agents(spec)]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("animals_one", ["birds", "fish"]),
        ("animals_one:fish", ["fish"]),
        ("animals_one:both", ["birds", "fish"]),
        ("animals_one.py", ["birds", "fish"]),
        ("./animals_one.py:birds", ["birds"]),
        (" animals_one:birds ", ["birds"]),
    ],
)
def test_agents_are_found_in_modules_and_files_of_the_working_directory(folder, spec, found):
    write(folder, "animals_one.py", TWO)
    assert names(spec) == found


def test_a_file_elsewhere_can_import_its_neighbours(folder):
    write(folder, "far/away/animals_two.py", TWO)
    write(folder, "far/away/chosen.py", "from animals_two import fish as agent")
    assert names(str(folder / "far/away/chosen.py")) == ["fish"]
    assert names("far/away/chosen.py:agent") == ["fish"]


PROJECT = """
    [project]
    name = "animals"
    [project.entry-points."starlings.agents"]
    birds = "animals_project:birds"
    fish = "animals_project:fish [sea]"
"""


@pytest.mark.parametrize("source", ["animals_project.py", "src/animals_project/__init__.py"])
@pytest.mark.parametrize(
    ("spec", "found"),
    [("zoo", ["birds", "fish"]), ("./zoo:birds", ["birds"]), ("zoo:fish", ["fish"])],
)
def test_a_folder_stands_for_the_agents_that_its_project_offers(folder, source, spec, found):
    write(folder, "zoo/pyproject.toml", PROJECT)
    write(folder, f"zoo/{source}", TWO)
    assert names(spec) == found


@pytest.mark.parametrize(
    ("project", "spec", "words"),
    [
        ("[project]", "zoo", "pyproject.toml offers no agent"),
        ("[project", "zoo", "pyproject.toml cannot be read"),
        ("project = 5", "zoo", "pyproject.toml cannot be read"),
        (PROJECT, "zoo:cow", "offers no agent 'cow'; its pyproject.toml names: birds (animals_pr"),
        (PROJECT, "zoo", "there is no module 'animals_project'"),
        (PROJECT.replace("animals_project", "json"), "zoo", "the module 'json' that was imported"),
    ],
)
def test_what_a_folder_cannot_offer_is_explained(folder, project, spec, words):
    write(folder, "zoo/pyproject.toml", project)
    with pytest.raises(ConfigError) as caught:
        load_agents(spec)
    assert words in str(caught.value)


def test_the_built_in_agents_are_found_by_their_entry_points():
    assert [agent.name for agent in builtin_agents()] == [
        "code",
        "container",
        "critic",
        "editor",
        "http",
        "human",
        "knowledge",
        "knowledge_query",
        "math",
        "notify",
        "sensor",
        "sql",
        "sql_ask",
        "string",
        "weather",
        "web_search",
        "writer",
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "names no agent"),
        ("animals:", "names no agent"),
        (":agent", "names no agent"),
        ("nowhere_at_all", "there is no module 'nowhere_at_all'"),
        ("animals.nowhere", "there is no module 'animals.nowhere'"),
        ("nowhere.py:agent", "there is no file nowhere.py"),
        ("animals:birdz", "'birdz' does not exist; agents in that module: birds, fish"),
        ("animals:number", "'number' is no agent"),
        ("empty", "there is no agent in empty"),
        ("broken", "broken cannot be imported: ZeroDivisionError"),
        ("broken.py", "broken.py cannot be imported: ZeroDivisionError"),
        ("syntax", "syntax cannot be imported: SyntaxError"),
        ("needy", "needy imports 'not_installed_here', which is not installed"),
        ("twins", "two agents named 'bee'"),
        ("idle:agent", "agent 'idle' can do nothing yet"),
        ("wrong", "agent name 'Wrong' is not usable"),
        ("wrong.py", "agent name 'Wrong' is not usable"),
    ],
)
def test_what_cannot_be_loaded_is_explained(folder, spec, words):
    write(folder, "animals.py", TWO)
    write(folder, "empty.py", "")
    write(folder, "broken.py", "1 / 0")
    write(folder, "syntax.py", "def (")
    write(folder, "needy.py", "import not_installed_here")
    write(folder, "wrong.py", 'import starlings\nstarlings.Agent("Wrong", description="x")')
    write(folder, "idle.py", 'import starlings\nagent = starlings.Agent("idle", description="x")')
    twin = 'Agent("bee", description="x")'
    write(
        folder,
        "twins.py",
        f"""
        from starlings import Agent
        a, b = {twin}, {twin}
        @a.step
        @b.step
        def buzz(task: str) -> str: ...
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load_agents(spec)
    assert words in str(caught.value)
