"""How far a clock is ahead is read out of single records."""

from __future__ import annotations

from types import SimpleNamespace

from starlings.replay.clocks import lead_of

AT_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z


def record(source: str = "starlings/coordinator/c-1", time: str = "2027-01-15T08:00:02.500+00:00"):
    headers = [("ce_source", source.encode()), ("ce_time", time.encode())]
    return SimpleNamespace(headers=headers, timestamp=AT_MS)


def test_a_message_written_later_than_it_arrived_shows_a_clock_that_is_ahead():
    assert lead_of(record()) == ("coordinator/c-1", 2_500)
    assert lead_of(record(time="2027-01-15T07:59:59Z")) == ("coordinator/c-1", -1_000)


def test_what_others_wrote_and_what_has_no_time_says_nothing():
    assert lead_of(record(source="acme/shop/1")) is None
    assert lead_of(record(source="starlings/cli")) is None
    assert lead_of(record(time="yesterday")) is None
    assert lead_of(record(time="2027-01-15T08:00:00")) is None, "no zone"
    assert lead_of(SimpleNamespace(headers=[], timestamp=AT_MS)) is None
