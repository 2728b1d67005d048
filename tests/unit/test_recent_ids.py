"""How far back a repeat is recognised."""

from __future__ import annotations

from starlings.kafka.recent_ids import RecentIds, Window


def fill(ids: RecentIds, count: int, *, start: int = 0, step_ms: int = 1) -> None:
    for offset in range(start, start + count):
        assert not ids.repeated(b"id-%d" % offset, offset, offset * step_ms)


def test_a_later_record_with_the_same_id_is_a_repeat_and_the_first_is_not():
    ids = RecentIds(Window())
    assert not ids.repeated(b"a", 3, 0)
    assert not ids.repeated(b"b", 4, 0)
    assert ids.repeated(b"a", 5, 0)
    assert not ids.repeated(b"a", 3, 0)  # the same record, fetched once more
    assert ids.end == 6


def test_old_ids_stay_while_the_window_has_few_records():
    ids = RecentIds(Window(window_s=1, at_least=5_000, at_most=50_000))
    fill(ids, 5_000, step_ms=1_000)
    assert len(ids) == 5_000


def test_old_ids_go_when_newer_ones_fill_the_window():
    ids = RecentIds(Window(window_s=1, at_least=2_000, at_most=50_000))
    fill(ids, 9_000, step_ms=1_000)
    assert 2_000 <= len(ids) <= 3_000
    assert ids.repeated(b"id-7500", 9_000, 9_000_000)
    assert not ids.repeated(b"id-1", 9_001, 9_000_000)


def test_young_ids_stay_beyond_the_least_number_but_never_beyond_the_most():
    ids = RecentIds(Window(window_s=900, at_least=1_000, at_most=6_000))
    fill(ids, 4_000)
    assert len(ids) == 4_000
    fill(ids, 6_000, start=4_000)
    assert 6_000 <= len(ids) <= 7_000
