"""`starlings emit` refuses what could be no event before it looks for a Kafka."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["emit", "ticket_created", "{not json"], None),
        (["emit", "ticket_created", "-"], "neither is this"),
        (["emit", "ticket_created", "NaN"], None),
    ],
    ids=["argument", "standard input", "no number"],
)
def test_a_payload_that_is_not_json_is_told_in_words(starlings, argv, stdin):
    assert starlings(*argv, stdin=stdin) == 2
    assert "the payload is not JSON" in starlings.stderr
    assert starlings.stdout == ""
