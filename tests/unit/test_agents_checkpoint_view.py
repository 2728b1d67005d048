"""The fold of a partition of checkpoints: the later record of a key counts, in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from starlings.agents.checkpoint_view import ENDS_REMEMBERED, Newer, View
from starlings.messages import AttemptCheckpoint, CallCheckpoint, split_key, work_of

WORKS = ("r1/s1/1", "r1/s1/2")
KEYS = (*WORKS, "r1/s1/1#a", "r1/s1/1#b", "r1/s1/2#a")


def value(key: str, number: int):
    work, call = split_key(key)
    if call is None:
        return AttemptCheckpoint(work=work, offset=number)
    return CallCheckpoint(work=work, offset=number, call=call, answer=number)


def take(view: View, offset: int, record: tuple[str, bool]) -> None:
    key, written = record
    if written:
        view.put(key, value(key, offset), offset)
    else:
        view.drop(key, offset)


def known(view: View) -> list:
    return [
        (view.attempt(work), view.keys(work), view.call(work, "a"), view.call(work, "b"))
        for work in WORKS
    ]


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=30),
    st.integers(0, 30),
    st.randoms(),
)
def test_reading_again_from_anywhere_leads_to_the_same(log, start, random):
    records = list(enumerate(log))
    once, again = View(), View()
    for record in records:
        take(once, *record)
        take(again, *record)
    for record in records[start:]:  # an echo of what is known
        take(again, *record)
    latest = dict(log)
    for work in WORKS:
        keys = tuple(sorted(k for k, w in latest.items() if w and split_key(k)[0] == work))
        assert once.keys(work) == keys
    assert known(once) == known(again)
    shuffled = View()  # our own writing and its echo come in any order
    for record in random.sample(records, len(records)):
        take(shuffled, *record)
    assert known(shuffled) == known(once)


def test_the_end_of_work_is_known_until_something_of_it_is_written_or_ends_are_settled():
    view = View()
    assert view.silent
    view.put(WORKS[0], value(WORKS[0], 0), 0)
    view.drop(WORKS[0], 1)
    view.drop(WORKS[1], 2)
    assert (view.ended(WORKS[0]), view.ended(WORKS[1]), view.silent) == (True, True, False)
    view.put("r1/s1/1#a", value("r1/s1/1#a", 3), 3)
    assert not view.ended(WORKS[0])
    view.settle()
    assert not view.ended(WORKS[1])
    assert len(view) == 1


def test_only_so_many_ends_are_remembered_and_the_latest_of_them():
    view = View()
    for offset in range(2 * ENDS_REMEMBERED):
        view.drop(f"r1/s{offset}/1", offset)
    assert not view.ended("r1/s0/1")
    assert view.ended(f"r1/s{2 * ENDS_REMEMBERED - 1}/1")
    assert view.ended(f"r1/s{2 * ENDS_REMEMBERED - ENDS_REMEMBERED // 2}/1")


def test_what_a_newer_version_wrote_is_known_by_its_work():
    view = View()
    view.put("r1/s1/1#a", Newer("starlings.call_checkpoint.v2"), 0)
    assert view.newer("r1/s1/1") == "starlings.call_checkpoint.v2"
    assert view.newer("r1/s1/2") is None
    assert view.call("r1/s1/1", "a") is None
    assert list(view.works()) == [("r1/s1/1", None)]


def test_work_is_named_by_the_id_of_its_record():
    assert work_of("r1/s1/2/step_ready") == "r1/s1/2"
    assert work_of("r1/s1/2/compensation_ready/1") == "r1/s1/2/compensation_ready/1"
    assert split_key(work_of("made#by#hand")) == ("made%23by%23hand", None)
    assert split_key("r1/s1/2#ask#twice") == ("r1/s1/2", "ask#twice")
