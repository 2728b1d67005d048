"""Settings: what the environment says, and how a wrong value is reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from starlings.kafka.seat import Seat
from starlings.messages import ConfigError
from starlings.service import ServiceSettings, load_settings, variable_name


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(variable_name(ServiceSettings, name), raising=False)


class _Secretive(ServiceSettings):
    api_key: SecretStr = Field(default=SecretStr(""), min_length=20, description="20 letters")


class _Foreign(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="KAFKA_")
    bootstrap: str = Field(description="host:port, a comma between several")


def test_without_any_variable_a_service_has_safe_defaults():
    settings = ServiceSettings()
    assert settings.health_host == "127.0.0.1"
    assert settings.health_port == 0
    assert settings.topics.events == "starlings.events"
    assert settings.blobs_url.startswith("file:///")


def test_the_environment_wins_over_the_dotenv_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("STARLINGS_GRACE_S=7\nSTARLINGS_PARTITIONS=3\nKAFKA_OTHER=x\n")
    monkeypatch.setenv("STARLINGS_GRACE_S", "9")
    settings = ServiceSettings()
    assert (settings.grace_s, settings.partitions) == (9, 3)


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("STARLINGS_HEALTH_PORT", "")
    assert ServiceSettings().health_port == 0


@pytest.mark.parametrize("value", ["off", "None", " no "])
def test_the_health_port_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv("STARLINGS_HEALTH_PORT", value)
    assert ServiceSettings().health_port is None


def test_each_process_gets_its_own_instance_id():
    first, second = ServiceSettings().instance, ServiceSettings().instance
    assert first != second
    assert re.fullmatch(r"[A-Za-z0-9._-]+-\d+-[0-9a-f]{4}", first)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("STARLINGS_HEALTH_PORT", "http", "0 for any free one, or off"),
        ("STARLINGS_HEALTH_PORT", "70000", "65535"),
        ("STARLINGS_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("STARLINGS_LOG_FORMAT", "xml", "json or pretty"),
        ("STARLINGS_GRACE_S", "-1", "greater than or equal to 0"),
        ("STARLINGS_TOPIC_PREFIX", "a b", "letters, digits"),
        ("STARLINGS_INSTANCE", "a/b", "unique among its replicas"),
        ("STARLINGS_PARTITIONS", "0", "partitions of a topic"),
    ],
)
def test_a_wrong_value_is_reported_with_its_variable_and_what_is_allowed(
    monkeypatch, name, value, allowed
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        ServiceSettings()
    text = str(caught.value)
    assert f"{name}={value!r}" in text
    assert allowed in text
    assert "\n" not in text


def test_static_membership_needs_a_name_that_lasts(monkeypatch):
    monkeypatch.setenv("STARLINGS_STATIC_MEMBERSHIP", "true")
    with pytest.raises(
        ConfigError, match="STARLINGS_STATIC_MEMBERSHIP=true needs STARLINGS_INSTANCE"
    ):
        ServiceSettings()
    monkeypatch.setenv("STARLINGS_INSTANCE", "math-0")
    assert ServiceSettings().seat == Seat(session_timeout_ms=6_000, instance="math-0")


def test_a_name_alone_makes_no_static_member(monkeypatch):
    monkeypatch.setenv("STARLINGS_INSTANCE", "math-0")
    monkeypatch.setenv("STARLINGS_SESSION_TIMEOUT_S", "12.5")
    assert ServiceSettings().seat == Seat(session_timeout_ms=12_500)


def test_only_a_static_member_may_keep_its_partitions_when_it_stops(monkeypatch):
    monkeypatch.setenv("STARLINGS_LEAVE_ON_STOP", "false")
    with pytest.raises(
        ConfigError, match="STARLINGS_LEAVE_ON_STOP=false needs STARLINGS_STATIC_MEMBERSHIP"
    ):
        ServiceSettings()
    monkeypatch.setenv("STARLINGS_STATIC_MEMBERSHIP", "true")
    monkeypatch.setenv("STARLINGS_INSTANCE", "math-0")
    assert not ServiceSettings().seat.leave_on_stop


def test_all_wrong_values_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("STARLINGS_GRACE_S", "soon")
    monkeypatch.setenv("STARLINGS_PARTITIONS", "many")
    with pytest.raises(ConfigError, match=r"STARLINGS_PARTITIONS.*STARLINGS_GRACE_S"):
        ServiceSettings()


def test_a_secret_appears_neither_in_the_report_nor_in_its_cause(monkeypatch):
    monkeypatch.setenv("STARLINGS_API_KEY", "hunter2")
    with pytest.raises(ConfigError) as caught:
        _Secretive()
    assert "STARLINGS_API_KEY is wrong" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_good_secret_is_not_printed_either(monkeypatch):
    monkeypatch.setenv("STARLINGS_API_KEY", "hunter2" * 5)
    assert "hunter2" not in repr(_Secretive())


def test_settings_of_other_rooms_are_reported_the_same_way():
    with pytest.raises(ConfigError, match=r"KAFKA_BOOTSTRAP is not set; it takes host:port"):
        load_settings(_Foreign)


def test_an_address_that_may_carry_a_password_is_not_repeated(monkeypatch):
    class Away(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="STARLINGS_AWAY_")
        url: str = Field(pattern=r"^https://", description="an address")

    monkeypatch.setenv("STARLINGS_AWAY_URL", "http://ann:hush-4711@example.org")
    with pytest.raises(ConfigError, match="STARLINGS_AWAY_URL is wrong") as caught:
        load_settings(Away)
    assert "hush-4711" not in str(caught.value)
