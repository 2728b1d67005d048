"""The codec without a broker: what is written can be read, what cannot be read says why."""

from __future__ import annotations

import math
from typing import Annotated, Any, get_args

import pytest
from aiokafka import ConsumerRecord
from pydantic import BaseModel, TypeAdapter, ValidationError

from starlings.blobs import BlobStore
from starlings.kafka.codec import CLAIM_ABOVE_BYTES, CLAIM_HEADER, Codec
from starlings.messages import (
    MESSAGES,
    CancelRequested,
    Compensation,
    DependencyResult,
    Envelope,
    Origin,
    RunRequested,
    StarlingsError,
    StepDone,
    StepReady,
    Timeouts,
    UndecodableMessage,
    split_ce_type,
)

NOW_MS = 1_700_000_000_123
DONE = b'{"run_id":"r","step_id":"s","attempt":1,"agent":"math","outcome":"ok","output":%s}'
STEP_DONE = [("ce_type", b"starlings.step_done.v1")]


@pytest.fixture
def codec(tmp_path) -> Codec:
    return Codec(source="test", blobs=BlobStore(tmp_path.as_uri()), now_ms=lambda: NOW_MS)


def record(value: bytes | None, headers=(), *, offset: int = 7) -> ConsumerRecord:
    size = len(value or b"")
    return ConsumerRecord("t", 3, offset, NOW_MS, 0, b"key", value, None, 3, size, tuple(headers))


def done(output: object) -> StepDone:
    base = {"run_id": "r", "step_id": "s", "attempt": 1, "agent": "math", "outcome": "ok"}
    return StepDone.model_construct(**{**StepDone(**base).__dict__, "output": output})


async def undecodable(codec: Codec, value: bytes | None, headers=(), default=None):
    with pytest.raises(UndecodableMessage) as caught:
        await codec.decode(record(value, headers), default=default)
    assert str(caught.value).startswith("t/3/7: ")
    return caught.value.code, str(caught.value).removeprefix("t/3/7: ")


class TestRoundTrip:
    @pytest.mark.parametrize(
        "output",
        [
            None,
            0,
            math.factorial(25),
            10**4_299,
            -0.1,
            1e300,
            "ü€😀\x00\u2028",
            [[1, [2, [{}]]]],
            {"": "", "a": [True, False, None]},
        ],
    )
    async def test_values_arrive_exactly_as_they_were_sent(self, codec, output):
        value, headers = await codec.encode(done(output), id="m", subject="r")
        received = await codec.decode(record(value, headers))
        assert received.message.output == output
        assert type(received.message.output) is type(output)

    async def test_headers_say_what_the_envelope_says(self, codec):
        value, headers = await codec.encode(
            CancelRequested(run_id="r"), id="m", subject="r", traceparent="t", causation_id="c"
        )
        received = await codec.decode(record(value, headers))
        assert received.envelope == Envelope(
            "m", "starlings.cancel_requested.v1", "test", "r", NOW_MS, "t", "c"
        )
        assert (received.origin, received.key) == (Origin("t", 3, 7), b"key")
        assert dict(headers)["ce_time"] == b"2023-11-14T22:13:20.123+00:00"

    async def test_a_large_value_travels_by_claim_with_a_summary(self, codec):
        message = done("x" * CLAIM_ABOVE_BYTES).model_copy(update={"summary": "many x"})
        value, headers = await codec.encode(message, id="m", subject="r")
        assert len(value) < 1_000
        assert b'"summary":"many x"' in value
        assert (CLAIM_HEADER, b"1") in headers
        assert (await codec.decode(record(value, headers))).message == message


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize(
        ("output", "message_id"),
        [
            pytest.param(10**4_300, "m", id="too many digits"),
            pytest.param("\ud800", "m", id="half a character"),
            pytest.param(object(), "m", id="no JSON"),
            pytest.param(b"\xff", "m", id="bytes"),
            pytest.param(nested(200), "m", id="deeper than the parser reads"),
            pytest.param(nested(5_000), "m", id="deeper than the writer writes"),
            pytest.param(None, "\ud800", id="an id that is no text"),
        ],
    )
    async def test_what_no_reader_could_read_is_refused_naming_the_message(
        self, codec, output, message_id
    ):
        with pytest.raises(StarlingsError, match=r"step_done .* cannot be written as") as caught:
            await codec.encode(done(output), id=message_id, subject="r")
        assert (caught.value.code, caught.value.retryable) == ("unencodable", False)


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("value", "code", "said"),
        [
            (b"\xff\xfe", "not_utf8", "not UTF-8 (byte 0)"),
            (DONE % b'"\xff"', "not_utf8", "not UTF-8 (byte 80)"),
            (b"", "not_json", "EOF"),
            (b"hello", "not_json", "Invalid JSON"),
            (DONE % b"NaN", "not_json", "Invalid JSON"),
            (DONE % b"[-Infinity]", "not_json", "Invalid JSON"),
            (DONE % (b"9" * 5_000), "not_json", "number out of range"),
            (DONE % (b"[" * 100_000), "not_json", "recursion limit"),
            (DONE % (b'{"a":' * 500 + b"1" + b"}" * 500), "not_json", "recursion limit"),
            (DONE % b'"\\ud800"', "not_json", "Invalid JSON"),
            (b"null", "bad_message", "should be an object"),
            (b"[]", "bad_message", "should be an object"),
            (b'{"run_id":1}', "bad_message", "run_id: Input should be a valid string"),
            (b"{}", "bad_message", "step_id: Field required; attempt: Field required and 2 more"),
        ],
    )
    async def test_it_says_what_is_wrong_and_where_it_lay(self, codec, value, code, said):
        assert (found := await undecodable(codec, value, STEP_DONE))[0] == code
        assert said in found[1]

    async def test_words_that_look_like_no_numbers_are_fine_in_texts(self, codec):
        received = await codec.decode(record(DONE % b'"NaN and Infinity"', STEP_DONE))
        assert received.message.output == "NaN and Infinity"

    async def test_no_value_is_no_message(self, codec):
        assert (await undecodable(codec, None, STEP_DONE))[0] == "no_value"

    async def test_a_claim_that_leads_nowhere_says_so(self, codec, tmp_path):
        claim = b'{"uri":"%s/gone","sha256":"%s","size_bytes":1}'
        value = claim % (tmp_path.as_uri().encode(), b"0" * 64)
        headers = [*STEP_DONE, (CLAIM_HEADER, b"1")]
        assert (await undecodable(codec, value, headers))[0] == "blob_gone"

    async def test_a_claim_that_is_none_says_so(self, codec):
        headers = [*STEP_DONE, (CLAIM_HEADER, b"1")]
        code, said = await undecodable(codec, b'{"uri":"x"}', headers)
        assert code == "bad_message"
        assert said.startswith("not a valid claim: sha256: Field required")


class TestTolerance:
    async def test_unknown_fields_are_accepted(self, codec):
        value = DONE.replace(b'"attempt"', b'"new_field":{"a":1},"attempt"') % b"5"
        assert (await codec.decode(record(value, STEP_DONE))).message.output == 5

    @pytest.mark.parametrize(
        "kind", [b"starlings.step_done.v2", b"starlings.new_fact.v1", b"com.example.order", b""]
    )
    async def test_unknown_types_and_newer_versions_are_skipped(self, codec, kind):
        assert await codec.decode(record(b"\xff", [("ce_type", kind)])) is None

    async def test_without_headers_the_default_says_what_it_is(self, codec):
        received = await codec.decode(record(b'{"run_id":"r"}'), default=CancelRequested)
        assert received.message == CancelRequested(run_id="r")
        assert received.envelope == Envelope(
            "t/3/7", "starlings.cancel_requested.v1", "", "r", NOW_MS
        )

    @pytest.mark.parametrize("kind", ["cancel_requested", "starlings.cancel_requested.v1"])
    async def test_without_headers_and_default_the_value_says_what_it_is(self, codec, kind):
        value = b'{"type":"%s","run_id":"r"}' % kind.encode()
        assert (await codec.decode(record(value))).message == CancelRequested(run_id="r")

    async def test_without_headers_an_unknown_type_is_skipped(self, codec):
        assert await codec.decode(record(b'{"type":"order_placed"}')) is None

    async def test_nothing_says_what_it_is(self, codec):
        assert (await undecodable(codec, b"{}"))[0] == "no_type"
        assert (await undecodable(codec, b'{"type":5}'))[0] == "no_type"
        assert (await undecodable(codec, b"hello"))[0] == "not_json"
        assert (await undecodable(codec, b"\xff"))[0] == "not_utf8"

    async def test_headers_that_are_no_text_do_no_harm(self, codec):
        headers = [*STEP_DONE, ("ce_id", b"\xff"), ("other", None), ("ce_subject", b"")]
        received = await codec.decode(record(DONE % b"5", headers))
        assert received.envelope.id == "\ufffd"
        assert received.envelope.subject == "r"

    def test_every_message_has_a_type_that_leads_back_to_it(self):
        found = {name: split_ce_type(model.CE_TYPE) for name, model in MESSAGES.items()}
        assert found == {name: (name, model.VERSION) for name, model in MESSAGES.items()}


class TestRequests:
    @pytest.mark.parametrize(
        "value",
        [b"add 2 and 2", b"  add 2 and 2\n", b'"add 2 and 2"', b'{"request":"add 2 and 2"}'],
    )
    async def test_what_people_type_is_a_request(self, codec, value):
        received = await codec.decode(record(value), default=RunRequested)
        assert received.message == RunRequested(request="add 2 and 2")
        assert received.envelope.id == "t/3/7"

    async def test_a_request_of_two_megabytes_is_told_the_limit(self, codec):
        code, said = await undecodable(codec, b"x" * 2_000_000, default=RunRequested)
        assert code == "too_large"
        assert "2,000,000 bytes long; the limit is 262,144" in said


class TestNullsLeftOut:
    """What travels with each step is written without its nulls, and read back as it was."""

    @pytest.mark.parametrize("run_s", [None, 600.0, 2.5])
    @pytest.mark.parametrize("null_in", [{"a": None, "b": [None]}, None, [None]])
    async def test_a_step_is_read_back_as_it_was(self, codec, run_s, null_in):
        result = DependencyResult(step_id="a", agent="math", summary="", output=null_in)
        ready = StepReady(
            run_id="r",
            step_id="s",
            attempt=1,
            agent="math",
            input=null_in,
            args={"x": null_in},
            context=[result],
            timeouts=Timeouts(run_s=run_s),
        )

        value, headers = await codec.encode(ready, id="i", subject="r")
        received = await codec.decode(record(value, headers))

        assert received is not None
        assert received.message == ready
        assert (b'"tool":null' in value) is (run_s is None)

    @pytest.mark.parametrize(
        "timeouts", [None, Timeouts(), Timeouts(run_s=None), Timeouts(run_s=None, queue_s=1)]
    )
    async def test_what_would_undo_a_step_keeps_its_limits(self, codec, timeouts):
        undo = Compensation(agent="math", input={"a": None}, timeouts=timeouts)
        ended = done([None, {"a": None}]).model_copy(update={"compensation": undo})

        value, headers = await codec.encode(ended, id="i", subject="r")
        received = await codec.decode(record(value, headers))

        assert received is not None
        assert received.message == ended

    @pytest.mark.parametrize("model", [StepReady, StepDone])
    def test_nothing_else_in_it_has_a_null_that_is_not_the_default(self, model):
        telling = {
            f"{inner.__name__}.{name}"
            for inner in models_within(model)
            for name, field in inner.model_fields.items()
            if takes_null(inner, name) and not (field.default is None and not field.is_required())
        }

        in_plans = {"ForEach.items"}  # with an amendment nothing is left out
        assert telling - in_plans == {"Timeouts.run_s"}


def models_within(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Find all models that a value of this one may be made of."""
    found: set[type[BaseModel]] = set()

    def look(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
            found.add(kind)
            for field in kind.model_fields.values():
                look(field.annotation)
        for inner in get_args(kind):
            look(inner)

    look(model)
    return found


def takes_null(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields[name]
    try:
        TypeAdapter(Annotated[field.annotation, field]).validate_python(None)
    except ValidationError:
        return False
    return True
