"""Fixtures of what is deployed: Helm in two versions, and the chart as they render it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.helm import Helm, find_helm, not_to_be_had

VALUES = sorted((Path(__file__).parent / "values").glob("*.yaml"))


def _helm(major: int) -> Helm:
    try:
        return find_helm(major)
    except (OSError, subprocess.SubprocessError) as error:
        not_to_be_had(error)
        raise


@pytest.fixture(scope="session", params=[3, 4], ids=["helm3", "helm4"])
def helm(request) -> Helm:
    """Each of the versions in turn."""
    return _helm(request.param)


@pytest.fixture(scope="session")
def helm3() -> Helm:
    """The older one alone."""
    return _helm(3)


@pytest.fixture(scope="session")
def helm4() -> Helm:
    """The newer one alone, for what does not hang on the version."""
    return _helm(4)


@pytest.fixture(params=VALUES, ids=lambda path: path.stem)
def values(request) -> Path:
    """Each file of values in turn."""
    return request.param
