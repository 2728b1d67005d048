"""The circuit breaker, on a clock of its own."""

from __future__ import annotations

import pytest

from starlings.llm.circuit import LONGEST_S, PROBING_S, Circuit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def circuit(clock):
    return Circuit(monotonic=clock)


def fails(circuit, times=1, asked_s=None):
    for _ in range(times):
        circuit.failed("away", limit=3, open_s=30.0, asked_s=asked_s)


def test_so_many_failures_in_a_row_open_it_and_a_success_between_them_does_not(circuit):
    fails(circuit, 2)
    circuit.went_well()
    fails(circuit, 2)
    assert circuit.wait_s() == 0
    fails(circuit)
    assert circuit.wait_s() == 30


def test_one_call_finds_out_and_the_others_wait_for_it(circuit, clock):
    fails(circuit, 3)
    clock.now += 30
    assert circuit.wait_s() == 0
    assert circuit.wait_s() == PROBING_S
    circuit.went_well()
    assert [circuit.wait_s(), circuit.wait_s()] == [0, 0]


def test_it_stays_open_where_the_one_call_fails_again(circuit, clock):
    fails(circuit, 3)
    clock.now += 30
    assert circuit.wait_s() == 0
    fails(circuit)
    assert circuit.wait_s() == 30


def test_a_call_that_was_cancelled_lets_the_next_one_find_out(circuit, clock):
    fails(circuit, 3)
    clock.now += 30
    assert circuit.wait_s() == 0
    circuit.given_up(circuit.probe)
    assert circuit.wait_s() == 0


def test_a_call_from_before_it_opened_that_is_cancelled_lets_no_second_one_find_out(circuit, clock):
    assert circuit.wait_s() == 0
    early = circuit.probe
    fails(circuit, 3)
    clock.now += 30
    assert circuit.wait_s() == 0
    circuit.given_up(early)
    assert circuit.wait_s() == PROBING_S
    late = circuit.probe
    fails(circuit)
    clock.now += 30
    assert circuit.wait_s() == 0
    circuit.given_up(late)  # by a call that somebody else has spoken for already
    assert circuit.wait_s() == PROBING_S


def test_a_provider_is_left_alone_for_as_long_as_it_asks_within_bounds(circuit):
    fails(circuit, asked_s=90.0)
    assert circuit.wait_s() == 90
    fails(circuit, asked_s=1e9)
    assert circuit.wait_s() == LONGEST_S


def test_with_no_time_to_stay_open_failures_never_open_it(circuit):
    for _ in range(9):
        circuit.failed("away", limit=3, open_s=0.0, asked_s=None)
    assert circuit.wait_s() == 0


def test_with_no_time_to_stay_open_a_call_from_before_lets_no_second_one_find_out(circuit, clock):
    circuit.failed("away", limit=3, open_s=0.0, asked_s=90.0)
    clock.now += 90
    assert circuit.wait_s() == 0
    circuit.failed("away", limit=3, open_s=0.0, asked_s=None)  # one that was on its way before
    assert circuit.wait_s() == PROBING_S


def test_with_no_time_to_stay_open_it_closes_when_the_call_that_finds_out_fails(circuit, clock):
    circuit.failed("away", limit=3, open_s=0.0, asked_s=90.0)
    clock.now += 90
    assert circuit.wait_s() == 0
    circuit.failed("away", limit=3, open_s=0.0, asked_s=None, probe=circuit.probe)
    assert [circuit.wait_s(), circuit.wait_s()] == [0, 0]
