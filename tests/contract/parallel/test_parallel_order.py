"""Completion out of order, crashes, restarts: what runs again and what does not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Window

pytestmark = pytest.mark.kafka

PROGRAM = Path(__file__).with_name("member_to_kill.py")


def start_member(bootstrap: str, topic: str, group_id: str, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), bootstrap, topic, group_id, str(log)],
        env={**os.environ, "BLOCKED": "0,7,31"},
    )


async def test_records_run_at_once_up_to_the_concurrency_and_no_further(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    await bench.put(*range(20))
    member = bench.member(work, concurrency=7)
    await wait_until(lambda: len(member.started) == 7, message="as many as may begin")
    await wait_until(lambda: member.consumer.queued == 13, message="the rest is queued")
    assert member.consumer.running == 7
    assert sorted(member.started) == list(range(7))
    gate.set()
    await member.ended_count(20)


async def test_the_done_set_is_committed_while_an_early_record_is_still_at_work(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(number, _received):
        if number in {0, 5}:
            await gate.wait()

    await bench.put(*range(10))
    member = bench.member(work)
    await bench.wait_done(Done(0, ((1, 5), (6, 10))))
    gate.set()
    await bench.wait_done(Done(10))
    assert member.consumer.counters.handled == 10


async def test_after_a_kill_only_what_had_not_finished_runs_again(open_bench, kafka, tmp_path):
    bench = await open_bench()
    await bench.put(*range(50))
    log = tmp_path / "ended"
    program = start_member(kafka.bootstrap, bench.topic, bench.group_id, log)
    try:
        await bench.wait_done(Done(0, ((1, 7), (8, 31), (32, 50))))
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    assert len(log.read_text().split()) == 47
    member = bench.member()
    await member.ended_count(3, timeout_s=30)
    await bench.wait_done(Done(50))
    assert sorted(member.ended) == [0, 7, 31]


async def test_a_repeat_is_dropped_and_counts_as_done(open_bench):
    bench = await open_bench()
    await bench.put(0, 1, 2, 3, ids={2: "m0", 3: "m1"})
    member = bench.member()
    await bench.wait_done(Done(4))
    assert sorted(member.ended) == [0, 1]
    assert member.consumer.counters.repeats == 2


async def test_a_repeat_is_dropped_after_a_restart_by_reading_back(open_bench):
    bench = await open_bench(2)
    await bench.put(*range(300), partition=1)
    first = bench.member()
    await first.ended_count(300)
    await first.leave()
    await bench.put(300, 301, 302, partition=1, ids={300: "m0", 302: "m299"})
    second = bench.member()
    await bench.wait_done(Done(303), partition=1)
    assert second.ended == [301]
    assert second.consumer.counters.repeats == 2


async def test_records_without_an_id_are_never_repeats(open_bench):
    bench = await open_bench()
    for _ in range(3):
        await bench.put_raw(b'{"run_id": "r1"}')
    member = bench.member()
    await member.ended_count(3)
    assert member.consumer.counters.repeats == 0


async def test_the_window_read_back_is_bounded_by_its_settings(open_bench):
    bench = await open_bench()
    await bench.put(*range(60))
    first = bench.member()
    await first.ended_count(60)
    await first.leave()
    await bench.put(60, 61, ids={60: "m0", 61: "m59"})
    narrow = Window(window_s=900, at_least=10, at_most=20)
    second = bench.member(settings={"window": narrow})
    await bench.wait_done(Done(62))
    assert second.ended == [60]
