"""The local Apache Kafka: durable over crashes, alone in its folder, found again by its record."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.waiting import wait_until_sync

from starlings.broker import (
    BrokerFailed,
    LocalBroker,
    PortTaken,
    down,
    logs,
    reset,
    resolve_broker,
    status,
    up,
)
from starlings.broker.state import Files, Record
from starlings.messages.errors import ConfigError

pytestmark = pytest.mark.kafka

#: A program that starts a broker over the folder of its argument, tells its pid, and ends.
UP = """
import pathlib, sys
from starlings.broker import up
print(up(pathlib.Path(sys.argv[1]), 0).pid)
"""


async def create(bootstrap: str, topic: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await client.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:
        for sent in [await producer.send(topic, value) for value in values]:
            await sent


async def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def topic_names(bootstrap: str) -> list[str]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        return list(await client.list_topics())
    finally:
        await client.close()


@pytest.fixture
def folder(tmp_path: Path):
    data = tmp_path / "broker"
    yield data
    down(data)


async def test_acknowledged_records_survive_kill_9_on_the_same_port(own_broker):
    before, pid = own_broker.bootstrap, own_broker.pid
    values = [str(n).encode() for n in range(1_000)]
    await create(before, "numbers")
    await produce(before, "numbers", values)

    own_broker.kill()
    assert not psutil.pid_exists(pid)
    assert status(own_broker.data).status == "crashed"
    own_broker.start()

    assert own_broker.bootstrap == before
    assert own_broker.pid != pid
    assert await read(before, "numbers", 1_000) == values


async def test_data_survives_a_clean_stop_and_start_is_a_no_op_while_it_runs(own_broker):
    await create(own_broker.bootstrap, "kept")
    await produce(own_broker.bootstrap, "kept", [b"x"])
    own_broker.restart()
    pid = own_broker.pid
    assert own_broker.start().pid == pid
    assert await read(own_broker.bootstrap, "kept", 1) == [b"x"]


async def test_two_brokers_run_at_once_and_know_nothing_of_each_other():
    with LocalBroker() as one, LocalBroker() as other:
        assert one.port != other.port
        await create(one.bootstrap, "only-here")
        assert "only-here" in await topic_names(one.bootstrap)
        assert "only-here" not in await topic_names(other.bootstrap)
    assert not one.data.exists()
    assert not one.running


def test_a_second_broker_over_the_same_folder_is_refused(own_broker):
    with pytest.raises(ConfigError, match="in use by another broker"):
        LocalBroker(own_broker.data).start()
    assert own_broker.running


def test_a_paused_broker_answers_nothing_until_it_is_resumed_and_can_be_stopped(own_broker):
    own_broker.pause()
    process = psutil.Process(own_broker.pid)
    wait_until_sync(
        lambda: process.status() == psutil.STATUS_STOPPED, message="the process is frozen"
    )
    own_broker.resume()
    wait_until_sync(
        lambda: process.status() != psutil.STATUS_STOPPED, message="the process goes on"
    )
    own_broker.pause()
    own_broker.stop()
    assert not own_broker.running
    assert status(own_broker.data).status == "stopped"
    with pytest.raises(BrokerFailed, match="does not run"):
        own_broker.kill()


def test_a_port_in_use_is_refused_with_the_port_and_a_way_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} .* in use .* choose another"):
            LocalBroker(tmp_path / "a", port=port).start()
        with pytest.raises(PortTaken, match=f"port {port}"):
            up(tmp_path / "b", port)
        assert status(tmp_path / "b").status == "stopped"


def test_a_broker_setting_that_kafka_refuses_is_told_with_the_end_of_the_log(tmp_path):
    broker = LocalBroker(tmp_path, settings={"num.io.threads": "none"})
    with pytest.raises(BrokerFailed, match=r"num\.io\.threads"):
        broker.start()
    assert not broker.running


def test_up_outlives_its_program_and_a_second_up_is_a_no_op_that_says_so(folder):
    subprocess.run([sys.executable, "-c", UP, str(folder)], check=True, timeout=100)
    running = status(folder)
    assert running.status == "running"

    again = up(folder, 0)
    assert (again.pid, again.changed) == (running.pid, False)
    assert "already" in again.message
    with pytest.raises(ConfigError, match=f"runs already, on port {running.port}"):
        up(folder, 20_000 if running.port != 20_000 else 20_001)
    assert any("Kafka Server started" in line for line in logs(folder))

    ended = down(folder)
    assert (ended.status, ended.changed) == ("stopped", True)
    assert not psutil.pid_exists(running.pid or 0) or (
        psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE
    )
    assert down(folder).changed is False


def test_two_ups_at_the_same_time_start_one_broker(folder):
    command = [sys.executable, "-c", UP, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = [process.communicate(timeout=100)[0].splitlines()[-1] for process in both]
    assert pids[0] == pids[1]


@pytest.mark.parametrize("birth_shift_s", [0, -3_600])
def test_a_stale_record_whose_pid_lives_again_is_reported_and_never_signalled(
    tmp_path, birth_shift_s
):
    files = Files(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        born = psutil.Process(innocent.pid).create_time() + birth_shift_s
        files.write_record(
            Record(pid=innocent.pid, born=born, port=1, bootstrap="127.0.0.1:1", kafka="0")
        )
        assert status(tmp_path).status == "crashed"
        assert "gone without a clean stop" in status(tmp_path).message
        assert down(tmp_path).status == "stopped"
        assert innocent.poll() is None
        innocent.communicate(b"\n", timeout=10)


def test_a_torn_record_counts_as_none(tmp_path):
    Files(tmp_path).record.write_text('{"pid": 12')
    assert status(tmp_path).status == "stopped"


def test_up_goes_on_over_the_data_of_a_crashed_broker(folder):
    crashed = psutil.Process(up(folder, 0).pid)
    crashed.kill()
    wait_until_sync(lambda: status(folder).status == "crashed", message="the crash is seen")
    state = up(folder, 0)
    assert state.changed
    assert state.pid != crashed.pid


async def test_reset_deletes_the_topics_and_leaves_foreign_files_alone(folder):
    await create(str(up(folder, 0).bootstrap), "gone-after-reset")
    (folder / "notes.txt").write_text("mine")
    done = reset(folder)
    assert (done.status, done.changed) == ("stopped", True)
    assert "deleted" in done.message
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "storage").exists()
    assert reset(folder).changed is False
    assert "gone-after-reset" not in await topic_names(str(up(folder, 0).bootstrap))


def test_asking_after_a_folder_that_does_not_exist_makes_none(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert status(nowhere).status == "stopped"
    assert down(nowhere).status == "stopped"
    assert reset(nowhere).status == "stopped"
    with pytest.raises(ConfigError, match="broker up"):
        list(logs(nowhere))
    assert not nowhere.exists()


def test_resolving_prefers_the_users_kafka(monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka.example:9092")
    found = resolve_broker(tmp_path)
    found.close()
    assert found.bootstrap == "kafka.example:9092"
    assert "KAFKA_BOOTSTRAP" in found.description
    assert not list(tmp_path.iterdir())


def test_resolving_starts_a_broker_shares_it_and_ends_only_its_own(monkeypatch, folder):
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    mine = resolve_broker(folder)
    shared = resolve_broker(folder)
    assert shared.bootstrap == mine.bootstrap
    assert "using it" in shared.description
    shared.close()
    assert status(folder).status == "running"
    mine.close()
    assert status(folder).status == "stopped"


def test_logs_yield_the_last_lines_and_follow_what_comes_later(folder):
    files = Files(folder)
    folder.mkdir()
    files.log.write_text("one\ntwo\nthree\n")
    lines = logs(folder, lines=2, follow=True)
    assert [next(lines), next(lines)] == ["two", "three"]
    with files.log.open("a") as log:
        log.write("four\n")
    assert next(lines) == "four"
    lines.close()
