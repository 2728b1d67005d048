"""What the doctor says of copies of a topic: now, and once a broker is lost."""

from __future__ import annotations

import pytest

from starlings.cli.checkup import Verdict
from starlings.cli.deployment.topics import by_design, now
from starlings.kafka.standing import Copies, TopicStanding


def topic(*partitions: tuple[int | None, tuple[int, ...], tuple[int, ...]]) -> TopicStanding:
    copies = tuple(Copies(n, *partition) for n, partition in enumerate(partitions))
    return TopicStanding("events", copies, frozenset())


SAFE = (1, (1, 2, 3), (1, 2, 3))


def test_a_topic_with_three_copies_of_which_two_must_have_a_record_is_safe():
    assert now(topic(SAFE, SAFE), 2) == []
    assert by_design(topic(SAFE), 2, {}, 3) == []


@pytest.mark.parametrize(
    ("partition", "verdict", "said"),
    [
        ((None, (1, 2, 3), (3,)), Verdict.FAIL, "no leader for partitions 1"),
        ((1, (1, 2, 3), (1,)), Verdict.FAIL, "fewer than 2 copies in sync of partitions 1"),
        ((1, (1, 2, 3), (1, 2)), Verdict.WARN, "copies are behind of partitions 1"),
    ],
)
def test_a_broker_that_is_away_is_named_with_what_it_means(partition, verdict, said):
    (found,) = now(topic(SAFE, partition), 2)
    assert found.verdict is verdict
    assert said in found.said
    assert "3" in found.remedy


@pytest.mark.parametrize(
    ("replicas", "least", "settings", "verdict", "said"),
    [
        ((1,), 1, {}, Verdict.WARN, "one copy"),
        ((1, 2), 2, {}, Verdict.WARN, "one broker away stops it"),
        ((1, 2, 3), 1, {}, Verdict.WARN, "may lie on one broker only"),
        (
            (1, 2, 3),
            2,
            {"unclean.leader.election.enable": "true"},
            Verdict.FAIL,
            "acknowledged facts may be lost",
        ),
    ],
)
def test_settings_that_lose_or_stop_work_with_a_broker_are_told(
    replicas, least, settings, verdict, said
):
    (found,) = by_design(topic((1, replicas, replicas)), least, settings, 3)
    assert found.verdict is verdict
    assert said in found.said
    assert found.remedy
