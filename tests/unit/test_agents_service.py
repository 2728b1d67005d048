"""What whoever deploys agents may say over their authors, and which topics that asks for."""

from __future__ import annotations

import pytest

from starlings import Agent, Sensor
from starlings.agents.service import _say_what_scales
from starlings.messages import ConfigError


def test_settings_say_whether_something_starts_an_agent_when_there_is_work():
    agent = Agent("orders", description="Sells things")

    @agent.tool
    def order(item: str) -> str:
        """Orders an item."""
        return item

    _say_what_scales([agent], from_zero=None)
    assert not agent.definition().scales_from_zero
    _say_what_scales([agent], from_zero=True)
    assert agent.definition().scales_from_zero
    _say_what_scales([agent], from_zero=False)
    assert not agent.definition().scales_from_zero


def test_an_agent_whose_steps_wait_cannot_be_told_to_scale_from_zero():
    sensor = Sensor("door", description="Waits for a door to open")
    with pytest.raises(ConfigError, match="STARLINGS_SCALES_FROM_ZERO=true: agent 'door' has jobs"):
        _say_what_scales([sensor], from_zero=True)
    _say_what_scales([sensor], from_zero=False)
