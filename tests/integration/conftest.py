"""Fixtures of several files here."""

from __future__ import annotations

import pytest
from support.recorded_steps import Recorder, recorder_in


@pytest.fixture
def recorder(starlings, tmp_path, monkeypatch) -> Recorder:
    """Recorded steps of an agent, in the folder that the command line is in."""
    del starlings
    return recorder_in(tmp_path, monkeypatch)
