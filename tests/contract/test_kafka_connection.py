"""Why a connection fails: the setting is named, or waiting goes on, saying what for."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from support.certificates import Authority
from support.sites import REFUSES_CONNECTIONS, settings_of
from support.waiting import wait_until

from starlings.broker import BrokerSecurity, LocalBroker
from starlings.broker.ports import free_port
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import ConfigError

pytestmark = [pytest.mark.kafka, *REFUSES_CONNECTIONS]


async def refusal(settings: KafkaSettings, wait_s: float = 30) -> str:
    with pytest.raises(ConfigError) as caught:
        await Connection(settings).connect(wait_s=wait_s)
    return str(caught.value)


class TestConnecting:
    async def test_connects_with_the_right_settings(self, site):
        await site.connection.connect(wait_s=30)

    async def test_a_client_of_each_kind_works_on_what_connect_approved(self, site):
        topic = await site.create("each")
        connection = site.connection
        producer = connection.producer()
        await producer.start()
        try:
            placed = await producer.send_and_wait(topic, b"value")
        finally:
            await producer.stop()
        assert await connection.partitions(topic) == [placed.partition]
        assert topic in await connection.topic_names()

    async def test_a_broker_that_starts_later_is_waited_for_and_said_so(self, own_broker):
        own_broker.stop()
        connection = Connection(KafkaSettings(bootstrap=own_broker.bootstrap))
        with structlog.testing.capture_logs() as lines:
            connecting = asyncio.create_task(connection.connect(wait_s=60))
            await wait_until(lambda: lines, message="a line that says what is waited for")
            await asyncio.to_thread(own_broker.start)
            await connecting
        assert lines[0]["event"] == "waiting for Kafka"
        assert lines[0]["reason"] == f"nothing answers on {own_broker.bootstrap}"

    async def test_the_wait_has_an_end_that_names_the_address_and_the_way_out(self):
        address = f"127.0.0.1:{free_port()}"
        said = await refusal(KafkaSettings(bootstrap=address), wait_s=0.1)
        assert said.startswith(f"KAFKA_BOOTSTRAP={address}: nothing answers on {address}")
        assert "starlings broker up" in said

    async def test_a_name_that_nobody_knows_is_told_as_such(self):
        said = await refusal(KafkaSettings(bootstrap="no-such-host.invalid:9092"), wait_s=0.1)
        assert "the host name 'no-such-host.invalid' cannot be resolved" in said

    async def test_one_living_address_of_several_is_enough(self, kafka):
        address = f"127.0.0.1:{free_port()}, {kafka.bootstrap}"
        await Connection(KafkaSettings(bootstrap=address)).connect(wait_s=5)

    async def test_a_server_that_is_no_kafka_is_told_as_such(self):
        async def hang_up(_reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            said = await refusal(KafkaSettings(bootstrap=f"127.0.0.1:{port}"), wait_s=0.1)
        assert "does not answer as Kafka does" in said

    async def test_brokers_that_send_clients_elsewhere_are_found_out(self, tmp_path):
        port = free_port()
        elsewhere = {"advertised.listeners": f"CLIENT://127.0.0.1:{free_port()}"}
        with LocalBroker(tmp_path, port=port, settings=elsewhere) as broker:
            broker.start()
            said = await refusal(KafkaSettings(bootstrap=broker.bootstrap), wait_s=0.1)
        assert f"sends its clients on to {elsewhere['advertised.listeners'][9:]}" in said
        assert "correct advertised.listeners" in said


class TestEncryption:
    async def test_tls_to_a_plaintext_port_names_the_setting(self, kafka):
        said = await refusal(KafkaSettings(bootstrap=kafka.bootstrap, security_protocol="SSL"))
        assert said == (
            f"KAFKA_SECURITY_PROTOCOL: it is SSL, but {kafka.bootstrap} does not speak TLS; "
            "set it to PLAINTEXT, or use the server's TLS port"
        )

    async def test_plaintext_to_a_tls_port_names_the_setting(self, secured_kafka):
        said = await refusal(KafkaSettings(bootstrap=secured_kafka.bootstrap))
        assert said.startswith(
            f"KAFKA_SECURITY_PROTOCOL: it is PLAINTEXT, but {secured_kafka.bootstrap} speaks TLS"
        )

    async def test_an_unknown_authority_names_the_file(self, secured_kafka, tmp_path):
        stranger = Authority(tmp_path / "stranger")
        said = await refusal(
            settings_of(secured_kafka.environment("app"), ssl_cafile=stranger.cafile)
        )
        assert said.startswith("KAFKA_SSL_CAFILE: the certificate of")
        assert "is not trusted" in said

    async def test_a_certificate_for_another_name_says_so(self, secured_kafka):
        # another way to write 127.0.0.1, which the certificate does not have
        same = secured_kafka.bootstrap.replace("127.0.0.1", "127.1")
        said = await refusal(settings_of(secured_kafka.environment("app"), bootstrap=same))
        assert said.startswith("KAFKA_BOOTSTRAP: the certificate of 127.1:")
        assert "KAFKA_SSL_CHECK_HOSTNAME=false" in said

    async def test_mutual_tls_wants_a_certificate_and_then_works(self, tmp_path):
        authority = Authority(tmp_path / "authority")
        security = BrokerSecurity(
            authority.issue("broker"),
            authority.cafile,
            {"admin": "admin-secret"},
            client_certificates="required",
        )
        protocols = "CONTROLLER:PLAINTEXT,CLIENT:SSL"
        broker = LocalBroker(
            tmp_path / "data",
            security=security,
            settings={
                "listener.security.protocol.map": protocols,
                "super.users": "User:CN=broker;User:CN=client;User:ANONYMOUS",
            },
        )
        with broker:
            broker.start()
            settings = KafkaSettings(
                bootstrap=broker.bootstrap, security_protocol="SSL", ssl_cafile=authority.cafile
            )
            assert (await refusal(settings)) == (
                f"KAFKA_SSL_CERTFILE: {broker.bootstrap} wants a certificate of the client "
                "(mutual TLS); name its PEM file"
            )
            known = settings.model_copy(update={"ssl_certfile": authority.issue("client")})
            await Connection(known).connect(wait_s=30)
            stranger = Authority(tmp_path / "stranger").issue("client")
            unknown = settings.model_copy(update={"ssl_certfile": stranger})
            said = await refusal(unknown)
            assert said.startswith(
                f"KAFKA_SSL_CERTFILE: {broker.bootstrap} refuses the certificate"
            )


class TestLogin:
    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
    async def test_a_wrong_password_names_the_setting_and_not_the_password(
        self, secured_kafka, mechanism
    ):
        environment = secured_kafka.environment("app", mechanism=mechanism)
        said = await refusal(settings_of(environment, sasl_password="wrong-secret"))
        assert said.startswith("KAFKA_SASL_PASSWORD: ")
        assert f"refuses the user 'app' with this password ({mechanism})" in said
        assert "wrong-secret" not in said

    async def test_plain_works_beside_scram(self, secured_kafka):
        settings = settings_of(secured_kafka.environment("app", mechanism="PLAIN"))
        await Connection(settings).connect(wait_s=30)

    async def test_a_mechanism_that_is_off_names_those_that_are_on(self, secured_kafka):
        settings = settings_of(secured_kafka.environment("app", mechanism="SCRAM-SHA-256"))
        said = await refusal(settings)
        assert said == (
            f"KAFKA_SASL_MECHANISM: {settings.bootstrap} does not take SCRAM-SHA-256; "
            "it takes PLAIN, SCRAM-SHA-512"
        )

    async def test_no_login_where_one_is_wanted_names_the_setting(self, secured_kafka):
        said = await refusal(
            KafkaSettings(
                bootstrap=secured_kafka.bootstrap,
                security_protocol="SSL",
                ssl_cafile=secured_kafka.cafile,
            )
        )
        assert said.startswith("KAFKA_SECURITY_PROTOCOL: it is SSL, but")
        assert "wants a login (PLAIN, SCRAM-SHA-512); set it to SASL_SSL" in said

    async def test_a_login_where_none_is_taken_names_the_setting(self, kafka):
        said = await refusal(
            KafkaSettings(
                bootstrap=kafka.bootstrap,
                security_protocol="SASL_PLAINTEXT",
                sasl_username="app",
                sasl_password="secret",
            )
        )
        assert said.startswith("KAFKA_SECURITY_PROTOCOL: it is SASL_PLAINTEXT, but")
        assert "takes no login; set it to PLAINTEXT" in said
