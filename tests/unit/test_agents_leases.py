"""Leases of others: judged by what was seen while the log could be read, on one's own clock."""

from __future__ import annotations

from starlings.agents.leases import Leases

KEY = (0, "r1/s1/1")


def followed(leases: Leases, start: float, end: float, step: float = 1.0) -> None:
    """Read the log to its end at every step of a time."""
    now = start
    while now <= end:
        leases.current(now)
        now += step


def test_a_claim_holds_for_a_whole_lease_after_its_last_renewal():
    leases = Leases(gap_s=3)
    leases.seen(KEY, 0, lease_s=5)
    followed(leases, 0, 5)
    assert not leases.expired(KEY)
    leases.seen(KEY, 5, lease_s=5)
    followed(leases, 6, 10)
    assert not leases.expired(KEY)
    leases.current(11)
    assert leases.expired(KEY)


def test_nothing_expires_before_the_log_has_been_read():
    leases = Leases(gap_s=3)
    leases.seen(KEY, 0, lease_s=5)
    assert not leases.expired(KEY)
    leases.current(100)  # read for the first time: only now a sign of life could have been seen
    assert not leases.expired(KEY)
    followed(leases, 101, 106)
    assert leases.expired(KEY)


def test_a_time_in_which_the_log_could_not_be_read_gives_everybody_a_new_lease():
    leases = Leases(gap_s=3)
    other = (1, "r2/s1/1")
    leases.seen(KEY, 0, lease_s=5)
    leases.seen(other, 0, lease_s=7)
    followed(leases, 0, 4)
    leases.current(60)  # a broker was away, or this process stood still
    assert not leases.expired(KEY)
    followed(leases, 61, 66)
    assert (leases.expired(KEY), leases.expired(other)) == (True, False)


def test_what_has_ended_is_forgotten():
    leases = Leases(gap_s=3)
    leases.seen(KEY, 0, lease_s=1)
    assert list(leases) == [KEY]
    leases.forget(KEY)
    leases.forget(KEY)
    followed(leases, 0, 9)
    assert (KEY in leases, len(leases), leases.expired(KEY)) == (False, 0, False)
