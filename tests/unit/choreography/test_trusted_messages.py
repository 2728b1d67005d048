"""What the core writes without checking it again is what checking would have made of it."""

from __future__ import annotations

import pytest
from support.golden.replay import record_of
from support.golden.scenarios import SCENARIOS, record
from support.recovery.coordinator import fold_record

from starlings.choreography import Ledger, confirmation_for, message_for


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_of_every_story_is_one_that_its_model_accepts(name):
    ledger = Ledger()
    seen = 0
    for line in record(name):
        outcome = fold_record(ledger, record_of(line))
        for decision in getattr(outcome, "decisions", ()):
            run = ledger.runs[line["headers"]["ce_subject"]]
            confirmation = confirmation_for(run, decision)
            for message in (message_for(run, decision), confirmation and confirmation.message):
                if message:
                    assert type(message).model_validate_json(message.as_json()) == message
                    seen += 1
    assert seen
