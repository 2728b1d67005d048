"""Fetching Apache Kafka: from a Maven repository on loopback, checked, once, and told clearly."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from starlings.broker.jars import cache_folder, fetch, jar_name, manifest
from starlings.messages.errors import ConfigError

JARS = {"org.example:one:1.0": b"first jar", "org.example:two:2.0": b"second jar"}
PINNED = {name: hashlib.sha256(content).hexdigest() for name, content in JARS.items()}


class Repository(SimpleHTTPRequestHandler):
    """A Maven repository that remembers what was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def maven(tmp_path, monkeypatch):
    root = tmp_path / "maven"
    for name, content in JARS.items():
        group, artifact, version = name.split(":")
        jar = root / group.replace(".", "/") / artifact / version / jar_name(name)
        jar.parent.mkdir(parents=True)
        jar.write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Repository, directory=root)) as server:
        server.asked = []
        server.root = root
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("STARLINGS_MAVEN_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("STARLINGS_CACHE", str(tmp_path / "cache"))
        yield server
        server.shutdown()
        thread.join()


def jars_asked(maven) -> list[str]:
    return sorted(Path(path).name for path in maven.asked if path.endswith(".jar"))


def test_jars_are_fetched_once_and_said_once(maven):
    said: list[str] = []
    first = fetch(said.append, pinned=PINNED)
    assert [jar.read_bytes() for jar in first] == list(JARS.values())
    assert fetch(said.append, pinned=PINNED) == first
    assert jars_asked(maven) == ["one-1.0.jar", "two-2.0.jar"]
    assert len(said) == 1
    assert "2 jars" in said[0]
    assert str(cache_folder()) in said[0]


def test_a_jar_with_another_checksum_than_the_pinned_one_is_refused_and_not_kept(maven):
    wrong = PINNED | {"org.example:two:2.0": "0" * 64}
    with pytest.raises(ConfigError, match=r"two-2\.0\.jar has the wrong checksum .* not run"):
        fetch(lambda _: None, pinned=wrong)
    assert not (cache_folder() / "lib").exists()


def test_a_jar_that_was_changed_in_the_cache_is_refused_with_the_way_out(maven):
    jars = fetch(lambda _: None, pinned=PINNED)
    jars[1].write_bytes(b"changed")
    with pytest.raises(ConfigError, match=r"two-2\.0\.jar has the wrong checksum.*delete"):
        fetch(lambda _: None, pinned=PINNED)
    jars[1].unlink()
    with pytest.raises(ConfigError, match=r"two-2\.0\.jar is missing; delete"):
        fetch(lambda _: None, pinned=PINNED)


def test_a_repository_without_the_jar_is_told_with_the_settings_that_help(maven):
    next(maven.root.rglob("two-2.0.jar")).unlink()
    with warnings.catch_warnings():
        # jgo leaves the connection of a refused answer to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ConfigError, match=r"could not be fetched.*STARLINGS_MAVEN_URL"):
            fetch(lambda _: None, pinned=PINNED)
        gc.collect()
    assert not (cache_folder() / "lib").exists()


def test_what_a_killed_fetch_left_behind_is_cleared(maven):
    left = cache_folder() / "fetch-killed" / "lib"
    left.mkdir(parents=True)
    fetch(lambda _: None, pinned=PINNED)
    assert not left.parent.exists()


def test_two_processes_fetch_every_jar_once_between_them(maven):
    program = f"from starlings.broker.jars import fetch; print(len(fetch(pinned={PINNED!r})))"
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = [process.communicate(timeout=60)[0].splitlines()[-1] for process in both]
    assert found == ["2", "2"]
    assert jars_asked(maven) == ["one-1.0.jar", "two-2.0.jar"]


def test_the_manifest_pins_every_jar_of_the_broker_with_a_sha_256():
    pinned = manifest()
    assert "org.apache.kafka:kafka_2.13:4.3.1" in pinned
    assert len(pinned) == 46
    assert all(len(bytes.fromhex(digest)) == 32 for digest in pinned.values())
