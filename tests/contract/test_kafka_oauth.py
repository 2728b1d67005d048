"""OAUTHBEARER against a real broker and a token endpoint of the test's own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from support.sites import REFUSES_CONNECTIONS, Site
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.broker import LocalBroker
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.oauth import ClientCredentials, NoToken
from starlings.kafka.publisher import Publisher
from starlings.messages import ConfigError, Topics

pytestmark = [pytest.mark.kafka, *REFUSES_CONNECTIONS]


MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
BROKER = {
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": "OAUTHBEARER",
    "sasl.mechanism.inter.broker.protocol": "OAUTHBEARER",
    # tokens without a signature: the broker's development handler, which is its default
    "listener.name.client.oauthbearer.sasl.jaas.config": (
        f'{MODULE} unsecuredLoginStringClaim_sub="broker";'
    ),
    "listener.name.client.oauthbearer.connections.max.reauth.ms": "1000",
}


def part(claims: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def token(lifetime_s: float) -> str:
    now = time.time()
    claims = {"sub": "app", "iat": now, "exp": now + lifetime_s}
    return f"{part({'alg': 'none'})}.{part(claims)}."


@dataclass
class Endpoint:
    """Answers as an identity provider does, and remembers what it was asked."""

    url: str = ""
    status: str = "200 OK"
    lifetime_s: float = 300
    answer: str | None = None
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        body = (await reader.readexactly(length)).decode()
        self.asked.append(head + body)
        given = {"access_token": token(self.lifetime_s), "expires_in": self.lifetime_s}
        text = json.dumps(given) if self.answer is None else self.answer
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
        writer.close()

    def settings(self, bootstrap: str = "127.0.0.1:1", **values: object) -> KafkaSettings:
        given = {
            "bootstrap": bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_token_url": self.url,
            "sasl_client_id": "app",
            "sasl_client_secret": "s+cret",
            "sasl_scope": "kafka",
        }
        return KafkaSettings(**{**given, **values})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint()
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        yield found


@contextlib.contextmanager
def oauth_broker(folder):
    with LocalBroker(folder, settings=BROKER) as broker:
        broker.start()
        yield broker


class TestAgainstABroker:
    async def test_a_token_is_fetched_used_and_renewed_when_sessions_end(self, endpoint, tmp_path):
        endpoint.lifetime_s = 20  # below the margin, so each new connection asks for a new one
        with oauth_broker(tmp_path) as broker:
            site = Site(endpoint.settings(broker.bootstrap), Topics("t."), BlobStore("memory:///"))
            await site.connection.connect(wait_s=30)
            topic = await site.create("events")
            publisher = Publisher(site.connection, site.codec)
            await publisher.start()
            asked = len(endpoint.asked)

            async def published_by_a_new_login() -> bool:
                await publisher.forward(topic, b"k", b"v", headers=[])
                return len(endpoint.asked) > asked + 2

            try:
                await wait_until(
                    published_by_a_new_login, timeout_s=30, message="logins after the session's end"
                )
            finally:
                await publisher.stop()
            assert publisher.failed == 0

    async def test_a_client_that_the_provider_refuses_names_the_setting(self, endpoint, tmp_path):
        endpoint.status = "401 Unauthorized"
        with oauth_broker(tmp_path) as broker:
            with pytest.raises(ConfigError) as caught:
                await Connection(endpoint.settings(broker.bootstrap)).connect(wait_s=30)
            said = str(caught.value)
            assert said.startswith("KAFKA_SASL_CLIENT_SECRET: ")
            assert said.endswith("refuses the client 'app': HTTP 401")
            assert "s+cret" not in said

            endpoint.status, endpoint.answer = "200 OK", '{"access_token": "not.a.token"}'
            with pytest.raises(ConfigError, match=r"^KAFKA_SASL_CLIENT_ID: .*invalid_token"):
                await Connection(endpoint.settings(broker.bootstrap)).connect(wait_s=30)


class TestTokens:
    async def test_it_asks_as_the_standard_says_and_keeps_the_token(self, endpoint):
        provider = ClientCredentials(endpoint.settings())
        assert await provider.token() == await provider.token()
        (asked,) = endpoint.asked
        assert asked.startswith("POST /token HTTP/1.1")
        assert asked.endswith("grant_type=client_credentials&scope=kafka")
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined
        assert base64.b64encode(b"app:s%2Bcret").decode() in asked

    async def test_many_connections_at_once_ask_once(self, endpoint):
        provider = ClientCredentials(endpoint.settings())
        assert len({*await asyncio.gather(*(provider.token() for _ in range(10)))}) == 1
        assert len(endpoint.asked) == 1

    @pytest.mark.parametrize(
        ("status", "answer", "setting", "said"),
        [
            ("400 Bad Request", "{}", "KAFKA_SASL_CLIENT_SECRET", "HTTP 400"),
            ("503 Unavailable", "{}", None, "HTTP 503"),
            ("200 OK", "<html>", None, "gives no token"),
            ("200 OK", "[]", None, "without an access_token"),
        ],
    )
    async def test_no_token_says_why_and_whether_waiting_may_help(
        self, endpoint, status, answer, setting, said
    ):
        endpoint.status, endpoint.answer = status, answer
        with pytest.raises(NoToken, match=said) as caught:
            await ClientCredentials(endpoint.settings()).token()
        assert caught.value.setting == setting

    async def test_an_endpoint_that_is_away_may_come_back(self, endpoint):
        settings = endpoint.settings(sasl_token_url="http://127.0.0.1:1/token")
        with pytest.raises(NoToken, match="gives no token") as caught:
            await ClientCredentials(settings).token()
        assert caught.value.setting is None
