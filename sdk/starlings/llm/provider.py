"""One server and model: asked in the way that it takes, which is remembered.

We begin with the most telling way and step down when the server answers 400, 404, 422 or 500 to it;
what worked is remembered per server and model for the life of the process.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai
import structlog

from starlings.messages.errors import StarlingsError
from starlings.telemetry import Span, inner_span

from . import errors
from .circuit import Circuit
from .completion import Call
from .endpoint import Endpoint
from .errors import ModelAway
from .in_words import read_turn
from .pricing import with_cost
from .question import Capabilities, Question, Way, body, ways
from .reply import Reply
from .settings import LlmSettings

STEP_DOWN_ON = frozenset({400, 404, 422, 500})

_log = structlog.get_logger(__name__)
_known: dict[tuple[str, str], Capabilities] = {}  # by (base URL, model)
_circuits: dict[tuple[str, str], Circuit] = {}


def forget(base_url: str) -> None:
    """Forget what a server has turned out to take, and how it failed."""
    for known in (_known, _circuits):
        for key in [key for key in known if key[0] == base_url]:
            del known[key]


class Provider:
    """A connection to one endpoint; safe for any number of concurrent questions in one loop."""

    def __init__(self, endpoint: Endpoint, settings: LlmSettings) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._client: openai.AsyncOpenAI | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def ask(self, question: Question) -> Reply:
        """Ask in the most telling way that the server takes; the reply says what it cost.

        Raises:
            ModelAway: it cannot be asked now, or failed too often of late.
            ModelFailed: it refuses the request, or answers with something else.
        """
        circuit = self.circuit
        wait_s = circuit.wait_s()
        if wait_s > 0:
            raise self._left_alone(wait_s)
        probe = circuit.probe
        try:
            reply = await self._ask_traced(question)
        except ModelAway as error:
            self._count_failure(error, probe)
            raise
        except StarlingsError:
            circuit.went_well()
            raise
        except BaseException:
            circuit.given_up(probe)
            raise
        circuit.went_well()
        return with_cost(reply, self.endpoint, self.endpoint.price)

    def _count_failure(self, error: ModelAway, probe: int) -> None:
        asked_s = error.retry_after_s or 0.0
        self.circuit.failed(
            str(error),
            limit=self._settings.circuit_failures,
            open_s=self._settings.circuit_open_s,
            asked_s=asked_s if asked_s > self._settings.retry_after_max_s else None,
            probe=probe,
        )

    def _left_alone(self, wait_s: float) -> ModelAway:
        return ModelAway(
            f"{self.endpoint.description} is left alone for another {wait_s:.1f} s "
            f"(STARLINGS_MODEL_CIRCUIT_OPEN_S), since it failed: {self.circuit.reason}",
            code=errors.CIRCUIT_OPEN,
            retry_after_s=wait_s,
            cooldown=True,
        )

    async def _ask_traced(self, question: Question) -> Reply:
        with self._span() as span:
            reply = await self._ask(question)
            span.note(
                {
                    "gen_ai.response.model": reply.model or None,
                    "gen_ai.usage.input_tokens": reply.usage.input_tokens,
                    "gen_ai.usage.output_tokens": reply.usage.output_tokens,
                }
            )
            return reply

    def _span(self) -> Span:
        """Begin the span of a question, by OpenTelemetry's conventions for generative AI."""
        host = urlsplit(self.endpoint.base_url).hostname
        about = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai" if self.endpoint.is_openai else host,
            "gen_ai.request.model": self.endpoint.model,
            "server.address": host,
        }
        return inner_span(f"chat {self.endpoint.model}", kind="client", attributes=about)

    async def _ask(self, question: Question) -> Reply:
        known = self.capabilities
        declared = known.tools and self._settings.tools != "words"
        possible = list(ways(question, replace(known, tools=declared)))
        for number, way in enumerate(possible, 1):
            last = number == len(possible)
            call = Call(self.client, self.endpoint, self._settings, hasty=not last)
            sent = body(question, way, self.endpoint, self._settings)
            try:
                reply = await call.send(sent, on_text=question.on_text if way.stream else None)
            except StarlingsError:
                if last or call.status not in STEP_DOWN_ON:
                    raise
                _log.info("asking in a plainer way", refused=_named(way), status=call.status)
                continue
            if number > 1:
                known.learn(question, way)
            return read_turn(reply) if question.tools and not way.tools else reply
        raise RuntimeError("the last way of asking either returns or raises")

    @property
    def capabilities(self) -> Capabilities:
        """What the server and model are known to take."""
        return _known.setdefault((self.endpoint.base_url, self.endpoint.model), Capabilities())

    @property
    def circuit(self) -> Circuit:
        """Whether the server and model may be asked now."""
        return _circuits.setdefault((self.endpoint.base_url, self.endpoint.model), Circuit())

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The HTTP client, made at the first question."""
        if self._client is None:
            self._client = _connect(self.endpoint, self._settings)
        return self._client


def _connect(endpoint: Endpoint, settings: LlmSettings) -> openai.AsyncOpenAI:
    parts = urlsplit(endpoint.base_url)
    key = endpoint.api_key.get_secret_value()
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=urlunsplit(parts._replace(query="", fragment="")),
        # Azure takes its version in the address, and the key in a header of its own
        default_query=dict(parse_qsl(parts.query)),
        default_headers={"api-key": key} if endpoint.is_azure and endpoint.has_key else None,
        timeout=settings.timeout_s,
        max_retries=0,  # ours are in `completion`: one way of trying again
        http_client=openai.DefaultAsyncHttpxClient(trust_env=not endpoint.is_local),
    )


def _named(way: Way) -> str:
    parts = [
        way.json.name if way.json is not None else "",
        "TOOLS" if way.tools else "",
        "STREAM" if way.stream else "",
    ]
    return "+".join(part for part in parts if part) or "PLAIN"
