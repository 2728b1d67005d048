"""Settings of Kafka that contradict each other are refused, naming what to set."""

from __future__ import annotations

import pytest

from starlings.kafka.connection import Connection
from starlings.kafka.settings import KafkaSettings
from starlings.messages import ConfigError

TLS = {"security_protocol": "SSL"}
SASL = {"security_protocol": "SASL_SSL", "sasl_username": "app", "sasl_password": "secret"}
OAUTH = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "sasl_client_id": "app",
    "sasl_client_secret": "secret",
}


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in KafkaSettings.model_fields:
        monkeypatch.delenv(f"KAFKA_{name.upper()}", raising=False)


def refusal(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Connection(KafkaSettings(**values))
    return str(caught.value)


def test_nothing_set_means_plaintext_on_this_machine():
    settings = KafkaSettings()
    settings.check()
    assert (settings.bootstrap, settings.security_protocol) == ("127.0.0.1:9092", "PLAINTEXT")


def test_environment_and_dotenv_are_read_and_the_environment_wins(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("KAFKA_BOOTSTRAP=one:1\nKAFKA_SASL_USERNAME=app\n")
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "two:2")
    settings = KafkaSettings()
    assert (settings.bootstrap, settings.sasl_username) == ("two:2", "app")


@pytest.mark.parametrize(
    "address", ["kafka", "kafka:", ":9092", "kafka:http", "kafka:70000", "a:1,"]
)
def test_an_address_without_host_and_port_is_refused(address):
    assert refusal(bootstrap=address).startswith(f"KAFKA_BOOTSTRAP={address}: ")


def test_an_ipv6_address_is_an_address():
    KafkaSettings(bootstrap="[::1]:9092").check()


def test_a_password_without_a_login_is_a_contradiction():
    assert refusal(sasl_password="secret") == (
        "KAFKA_SASL_PASSWORD is set, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT: "
        "set it to SASL_SSL (or SASL_PLAINTEXT), or unset the former"
    )


def test_a_mechanism_without_a_login_is_a_contradiction():
    assert refusal(sasl_mechanism="PLAIN", **TLS).startswith(
        "KAFKA_SASL_MECHANISM is set, but KAFKA_SECURITY_PROTOCOL is SSL"
    )


@pytest.mark.parametrize("missing", ["sasl_username", "sasl_password"])
def test_a_login_without_its_user_or_password_names_what_is_missing(missing):
    values = {name: value for name, value in SASL.items() if name != missing}
    assert refusal(**values) == (
        f"KAFKA_{missing.upper()} is not set, but KAFKA_SECURITY_PROTOCOL=SASL_SSL with "
        "KAFKA_SASL_MECHANISM=PLAIN needs it"
    )


def test_oauth_without_its_endpoint_names_what_is_missing():
    assert refusal(**OAUTH).startswith("KAFKA_SASL_TOKEN_URL is not set")


def test_oauth_with_an_endpoint_that_is_no_address_says_so():
    assert (
        refusal(**OAUTH, sasl_token_url="idp") == "KAFKA_SASL_TOKEN_URL='idp' is no http(s) address"
    )


def test_tls_files_without_tls_are_a_contradiction(tmp_path):
    assert refusal(ssl_cafile=tmp_path).startswith(
        "KAFKA_SSL_CAFILE is set, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT"
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "ca.pem"
    assert refusal(ssl_cafile=path, **TLS) == f"KAFKA_SSL_CAFILE={path} does not exist"


def test_a_file_that_is_no_certificate_is_named(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")
    assert refusal(ssl_cafile=path, **TLS).startswith(f"KAFKA_SSL_CAFILE={path} is no PEM")
    assert refusal(ssl_certfile=path, **TLS).startswith(f"KAFKA_SSL_CERTFILE={path} with its key")


def test_a_key_without_a_certificate_is_half_a_setting(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("")
    assert refusal(ssl_keyfile=path, **TLS) == (
        "KAFKA_SSL_KEYFILE is set, but KAFKA_SSL_CERTFILE is not"
    )


def test_secrets_are_never_shown():
    settings = KafkaSettings(**{**SASL, "sasl_password": "pa55word"})
    assert "pa55word" not in repr(settings) + str(settings.model_dump())
