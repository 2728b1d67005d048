"""Secrets out of what is handed on: found wherever they stand, and still comparable."""

from __future__ import annotations

import base64
import json
import time

import pytest

from starlings.messages import ConfigError
from starlings.replay.redacting import Redaction
from starlings.replay.secret_signs import is_secret_name, secrets_of_environment

PASSWORD = "Tr0ub4dor&3"
JWT = "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"


def redacted(*values, **options):
    """Take secrets out of values as out of the records of a file."""
    redaction = Redaction(**options)
    for value in values:
        redaction.learn(value)
    redaction.learnt()
    done = [redaction.value(value) for value in values]
    return done if len(done) > 1 else done[0]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("use sk-abcdefghijklmnop1234 for it", "sk-abcdefghijklmnop1234"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("ghp_abcdefghijklmnopqrstuv", "ghp_abcdefghijklmnopqrstuv"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
        ("proxy-authorization=token letmein", "letmein"),
        ("curl -H 'X-Api-Key: 77-12-aa'", "77-12-aa"),
        ("sent Bearer ya29.a0AfH6SMBx", "ya29.a0AfH6SMBx"),
        (f"it was {JWT}.", JWT.rpartition(".")[2]),
        ("postgres://bob:s3cr3tpw@db/x", "s3cr3tpw"),
        ("https://ghtoken99@github.test/x", "ghtoken99"),
        ("https://x.test/y?api_key=12345abc&z=1", "12345abc"),
        ("Set-Cookie: sid=31d4d96e407aad42; HttpOnly", "31d4d96e407aad42"),
        ("DB_PASSWORD=geheim99 make", "geheim99"),
        ('{"clientSecret": "9-9-9-9"}', "9-9-9-9"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcC\nAQ==\n-----END EC PRIVATE KEY-----", "MHcC"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text, secret):
    shown = redacted({"request": text})["request"]
    assert secret not in shown
    assert "redacted-" in shown


@pytest.mark.parametrize(
    "text",
    [
        "a basic understanding of tokens: 120 of them",
        "the bearer authentication of names",
        "{{steps.login.output.token}}",
        "Authorization: Bearer {{secret:GITHUB}}",
        "https://example.test/path?page=2",
        "r1/s1/1/step_done",
        "[secret GITHUB] and ***",
    ],
)
def test_what_is_none_stays(text):
    assert redacted({"task": text}) == {"task": text}


def test_names_tell_secrets_and_counts_of_tokens_are_none():
    for name in ("password", "DB_PASSWORD", "accessToken", "X-Api-Key", "client-secret", "pass"):
        assert is_secret_name(name), name
    for name in ("tokens", "input_tokens", "max_tokens", "key", "bypass", "passenger", "secretary"):
        assert not is_secret_name(name), name


def test_the_same_secret_has_the_same_name_wherever_it_stands():
    first, second = redacted(
        {"output": f"the word is {PASSWORD}", "other": "hunter2", "equals": "short"},
        {"args": {"password": PASSWORD, "pass": "hunter2", "api_token": "short"}},
    )
    name = second["args"]["password"]
    assert first["output"] == f"the word is {name}"
    assert first["other"] == second["args"]["pass"]
    assert first["equals"] == second["args"]["api_token"]
    assert len({name, second["args"]["pass"], first["equals"]}) == 3


def test_a_secret_is_known_however_it_is_written():
    pair = base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    nested = json.dumps({"a": f'"{PASSWORD}"'})
    value = redacted(
        {"password": PASSWORD, "url": "x=Tr0ub4dor%263&", "pair": pair, "json": nested}
    )
    assert value["url"] == f"x={value['password']}&"
    assert PASSWORD not in value["json"]
    assert b"Tr0ub" not in base64.b64decode(pair[:8] + "=" * (-len(pair[:8]) % 4)) or (
        value["pair"] != pair
    )
    assert value["pair"] != pair


def test_words_and_names_of_the_protocol_stay_whatever_is_called_secret():
    value = {
        "outcome": "error",
        "run_id": "night-run",
        "agent": "math",
        "input": {"password": "error", "token": "night-run", "secret": "abc"},
        "text": "abc of night-run",
    }
    done = redacted(value, names=["night-run", "math"])
    assert (done["outcome"], done["run_id"], done["agent"]) == ("error", "night-run", "math")
    assert done["text"] == "abc of night-run"
    assert done["input"]["secret"].startswith("redacted-secret-")


def test_a_schema_of_secrets_holds_none():
    schema = {"properties": {"password": {"type": "string"}}, "required": ["password"]}
    assert redacted({"takes": schema}) == {"takes": schema}
    below = redacted({"credentials": {"user": "bob", "id": 123_456, "ok": True, "none": None}})
    assert below["credentials"]["user"].startswith("redacted-credentials-")
    assert below["credentials"]["id"].startswith("redacted-credentials-")
    assert (below["credentials"]["ok"], below["credentials"]["none"]) == (True, None)


def test_what_was_taken_out_is_not_taken_out_again():
    value = {"password": PASSWORD, "text": f"password: {PASSWORD}", "k": "Bearer abc12345"}
    once = redacted(value)
    assert redacted(once) == once


def test_own_patterns_and_kept_fields_are_heeded():
    value = {"text": "card 4711-0815", "next_page_token": "p-2-of-99", "token": "t-1-of-99"}
    done = redacted(value, patterns=[r"card (\d{4})-", r"0815"], keep=["next_page_token"])
    assert done["text"] == "card redacted-own-1-redacted-own-2"
    assert done["next_page_token"] == "p-2-of-99"
    assert done["token"] == "redacted-token-3"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "is no regular expression"), ("x*", "fits where nothing is"), ("r.n", "fits 'run-1'")],
)
def test_patterns_that_cannot_be_used_are_named(pattern, said):
    with pytest.raises(ConfigError, match=said):
        Redaction(patterns=[pattern], names=["run-1"])


def test_secrets_of_the_process_are_taken_out_and_named_by_their_variables(tmp_path):
    (tmp_path / "STRIPE").write_text("in-a-file-77\n")
    (tmp_path / "short").write_text("x")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    environment = {
        "STARLINGS_SECRET_MAIL": "correct horse",
        "OPENAI_API_KEY": "own-model-key-1",
        "HOME": "/home/somebody",
        "KAFKA_SASL_PASSWORD": "none",
        "PWD": "/home/somebody/shop",  # the folder of a shell, and no password
        "OLDPWD": "/home/somebody",
    }
    known = secrets_of_environment(environment, folder=tmp_path)
    assert known == {
        "correct horse": "MAIL",
        "own-model-key-1": "OPENAI_API_KEY",
        "in-a-file-77": "STRIPE",
    }
    assert secrets_of_environment({}, folder=tmp_path / "none") == {}
    text = "own-model-key-1, correct horse, in-a-file-77, /home/somebody"
    assert redacted(text, known=known) == (
        "redacted-openai-api-key-1, redacted-mail-2, redacted-stripe-3, /home/somebody"
    )


def test_bytes_that_are_no_text_are_searched_for_what_is_known():
    redaction = Redaction(known={PASSWORD: "DB"})
    redaction.learn(b"\xff" + PASSWORD.encode())
    redaction.learnt()
    redaction.at("blob")
    assert redaction.data(b"\xff" + PASSWORD.encode()) == b"\xffredacted-db-1"
    (taken,) = redaction.taken
    assert (taken.times, taken.first) == (1, "blob")


@pytest.mark.parametrize(
    "piece",
    ["x", "a-", "a b ", "://a", "eyJ", "bearer ", "cookie:", "-----BEGIN A PRIVATE KEY-----",
     '{"a":', "token=", "sk-", "authorization:", "{{", "https://a:b"],
)  # fmt: skip
def test_a_hostile_text_takes_no_longer_than_its_length_allows(piece):
    def took_s(text):
        began = time.process_time()
        redacted({"text": text}, known={PASSWORD: "DB"})
        return time.process_time() - began

    took_s(piece)
    short, long = piece * (20_000 // len(piece)), piece * (200_000 // len(piece))
    assert took_s(long) < 40 * took_s(short) + 0.5
