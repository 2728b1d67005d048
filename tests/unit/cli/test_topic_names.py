"""How many partitions the topics of named agents have."""

from __future__ import annotations

import pytest

from starlings.cli.topic_names import _named, _of_named
from starlings.messages import ConfigError, Topics


def test_a_name_may_say_its_partitions():
    assert _named("math", "--agent") == ("math", None)
    assert _named("math.large=2", "--agent") == ("math.large", 2)


@pytest.mark.parametrize("text", ["math=", "math=0", "math=many", "math=-1", "math=10001"])
def test_what_is_no_number_of_partitions_is_refused(text):
    with pytest.raises(ConfigError, match=f"--agent {text}: after '=' goes a number"):
        _named(text, "--agent")


def test_topics_of_named_agents_and_variants_have_these_partitions():
    topics = Topics("t.")
    large = {s.name: s.partitions for s in _of_named(topics, "orders.large", 2)}
    assert large == {"t.steps.orders.large": 2, "t.checkpoints.orders.large": 2}
    own = {s.name: s.partitions for s in _of_named(topics, "knowledge", 16)}
    assert own == {"t.steps.knowledge": 16, "t.checkpoints.knowledge": 16, "t.knowledge.main": 16}
