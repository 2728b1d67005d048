"""Images are built by whichever engine is there; where none is, or one fails, it is said."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from images.archive import look_into
from images.catalog import all_images, chosen
from images.engines import Engine, find_engine

ROOT = Path(__file__).parents[2]
ENGINE = os.environ.get("STARLINGS_TEST_IMAGE_ENGINE", "")


def program(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


def make_images(env: dict[str, str], *words: str, within_s: float = 60) -> tuple[int, str, str]:
    line = [sys.executable, "-m", "images", *words]
    env = {"PYTHONPATH": str(ROOT / "deploy" / "docker"), "HOME": "/nowhere", **env}
    done = subprocess.run(
        line, env=env, capture_output=True, text=True, timeout=within_s, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_client_without_its_service_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "docker", "exit 1")
    program(tmp_path, "podman", "exit 0")
    assert find_engine().kind == "podman"
    assert find_engine("buildah --root /x", "--pull=never").options == ["--pull=never"]
    program(tmp_path, "docker", "exit 0")
    assert find_engine().kind == "docker"


def test_without_an_engine_and_with_an_unknown_one_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="none of docker, podman, buildah is there and answers"):
        find_engine()
    with pytest.raises(ValueError, match="ENGINE=kaniko: it takes docker, podman, buildah"):
        find_engine("kaniko")


@pytest.mark.parametrize(("kind", "layers"), [("docker", False), ("podman", True)])
def test_the_command_names_dockerfile_arguments_and_tag(kind, layers, tmp_path):
    image = all_images(ROOT)["agent-web-search"]
    reference = image.reference("registry.example.org/team/", "7")
    assert reference == "registry.example.org/team/starlings-agent-web-search:7"
    line = Engine([kind]).build(image.dockerfile, reference, arguments=image.arguments)
    assert ("--layers" in line) is layers
    assert {"--build-arg=AGENT=web_search", "--build-arg=EXTRAS=web"} <= set(line)
    assert line[-5:] == ["--file", image.dockerfile, "--tag", reference, "."]
    assert str(tmp_path / "x.tar") in " ".join(Engine([kind]).save(reference, tmp_path / "x.tar"))


def test_an_older_docker_is_told_to_build_with_what_knows_mounts(tmp_path):
    program(tmp_path, "docker", 'echo "buildkit: $DOCKER_BUILDKIT" >&2; exit 1')
    env = {"IMAGES": "planner", "ENGINE": str(tmp_path / "docker"), "PATH": os.environ["PATH"]}
    _, _, said = make_images(env, "--out", str(tmp_path / "out"))
    assert "buildkit: 1" in said


def test_images_are_chosen_by_name():
    images = all_images(ROOT)
    assert [image.name for image in chosen(images, ["planner", "agent-math"])] == [
        "planner",
        "agent-math",
    ]
    assert len(chosen(images, [])) == len(images)
    code, _, said = make_images({"IMAGES": "coordinator agent-maths", "PATH": "/usr/bin:/bin"})
    assert code == 2
    assert said.startswith("images: IMAGES=agent-maths: there are coordinator planner agent-")


@pytest.mark.parametrize(
    ("fails", "told"), [("build", "could not build"), ("push", "could not write out")]
)
def test_an_engine_that_fails_ends_it_with_the_name_of_the_image(tmp_path, fails, told):
    body = f"[ $1 = {fails} ] || exit 0; echo no space left >&2; exit 125"
    program(tmp_path, "buildah", body)
    env = {"IMAGES": "planner", "ENGINE": str(tmp_path / "buildah"), "PATH": os.environ["PATH"]}
    code, _, said = make_images(env, "--out", str(tmp_path / "out"))
    assert code == 125
    assert "no space left" in said
    assert said.splitlines()[-1].startswith(f"images: buildah {told} starlings-planner:")


if ENGINE:  # named by whoever wants an image built for real

    @pytest.mark.slow
    @pytest.mark.timeout(1_500)
    def test_the_coordinators_image_is_built_small_and_says_what_it_is(tmp_path):
        env = {**os.environ, "ENGINE": ENGINE, "IMAGES": "coordinator", "TAG": "test"}
        code, table, said = make_images(env, "--keep", "--out", str(tmp_path), within_s=1_400)
        assert code == 0, said
        assert table.splitlines()[1].startswith("starlings-coordinator:test ")
        found = look_into(tmp_path / "starlings-coordinator.tar")
        assert found.compressed < 90_000_000
        config = found.config["config"]
        assert config["User"] == "10001:10001"
        assert config["Entrypoint"] == shlex.split("python -m starlings_coordinator")
        assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
        bill = json.loads((tmp_path / "starlings-coordinator.cdx.json").read_text())
        parts = {part["name"] for part in bill["components"]}
        assert {"starlings", "starlings-coordinator", "aiokafka", "python"} <= parts
        assert not parts & {"pip", "setuptools", "hatchling", "openai"}
