"""The agent `string` beyond counting and changing: parts, lines, patterns, encodings, JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agents import ready

from starlings.agents.execute import execute
from starlings.messages import StepDone
from starlings_agents.string import agent


async def call(tool, **args) -> StepDone:
    done = await execute(agent, ready(agent="string", tool=tool, args=args))
    return StepDone.model_validate_json(done.model_dump_json())


@pytest.mark.parametrize(
    ("tool", "args", "output"),
    [
        ("substring", {"text": "starlings", "start": 0, "end": 4}, "star"),
        ("substring", {"text": "starlings", "start": -5}, "lings"),
        ("between", {"text": "a [b] [c]", "left": "[", "right": "]"}, "b"),
        ("truncate", {"text": "a long text", "length": 6}, "a lon…"),
        ("truncate", {"text": "short", "length": 5}, "short"),
        ("truncate", {"text": "text", "length": 1, "mark": "..."}, "."),
        ("pad", {"text": "7", "length": 3, "fill": "0", "side": "left"}, "007"),
        ("pad", {"text": "x", "length": 3, "side": "both"}, " x "),
        ("pad", {"text": "x", "length": 2}, "x "),
        ("wrap", {"text": "one two three", "width": 7}, "one two\nthree"),
        ("slug", {"text": "Éclair, 2 €"}, "eclair-2"),
        ("sort_lines", {"text": "b\nA\nb\nc", "unique": True}, "A\nb\nc"),
        ("sort_lines", {"text": "a\nb", "descending": True}, "b\na"),
        ("unique_lines", {"text": "b\na\nb"}, "b\na"),
        ("matching_lines", {"text": "Error 1\nok\nerror 2", "part": "error"}, ["error 2"]),
        (
            "matching_lines",
            {"text": "Error 1\nok", "part": "error", "ignore_case": True},
            ["Error 1"],
        ),
        ("frequent_words", {"text": "A rose, a rose; it's.", "count": 2}, {"a": 2, "rose": 2}),
        ("similarity", {"left": "same", "right": "same"}, 1.0),
        ("similarity", {"left": "abc", "right": "xyz"}, 0.0),
        ("similarity", {"left": "w " * 2000, "right": "v " * 2000}, 0.0),
        ("find_pattern", {"text": "a1 b22", "pattern": r"[a-z](\d+)"}, ["1", "22"]),
        ("find_pattern", {"text": "Ab", "pattern": "a", "ignore_case": True}, ["A"]),
        ("find_pattern", {"text": "b", "pattern": "(a)?b"}, [""]),
        ("replace_pattern", {"text": "2030-12", "pattern": r"(\d+)-(\d+)", "new": r"\2/\1"},
         "12/2030"),
        ("emails", {"text": "to a.b@c.org, A.B@c.org and a.b@c.org."}, ["a.b@c.org", "A.B@c.org"]),
        ("links", {"text": "(see https://a.org/x?y=1), http://b.org."},
         ["https://a.org/x?y=1", "http://b.org"]),
        ("numbers_in", {"text": "-3.5 of 1,000 in v2 at 12."}, ["-3.5", "1,000", "12"]),
        ("encode", {"text": "ä b", "encoding": "base64"}, "w6QgYg=="),
        ("encode", {"text": "ä b", "encoding": "url"}, "%C3%A4%20b"),
        ("encode", {"text": "ab", "encoding": "hex"}, "6162"),
        ("hash_text", {"text": "a"},
         "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("hash_text", {"text": "a", "algorithm": "md5"}, "0cc175b9c0f1b6a831c399e269772661"),
        ("read_json", {"text": '{"a": [{"b/c": 5}]}', "pointer": "/a/0/b~1c"}, 5),
        ("read_json", {"text": "[1, 2]"}, [1, 2]),
    ],
)  # fmt: skip
async def test_texts_are_worked_on(tool, args, output):
    done = await call(tool, **args)
    assert done.error is None
    assert done.output == output


@pytest.mark.parametrize(
    ("tool", "args", "code", "words"),
    [
        ("between", {"text": "a", "left": "(", "right": ")"}, "not_found", "no part between"),
        ("pad", {"text": "", "length": 10**9}, "result_too_large", "the limit is 10,000,000"),
        ("similarity", {"left": "a" * 20_001, "right": ""}, "arguments_invalid", "20,000"),
        ("find_pattern", {"text": "a", "pattern": "("}, "arguments_invalid", "no regular"),
        ("find_pattern", {"text": "a" * 50_000 + "!", "pattern": r"(a|aa|a?)+$"},
         "pattern_too_slow", "longer than 1 s"),
        ("replace_pattern", {"text": "a" * 50_000 + "!", "pattern": r"(a|aa|a?)+$", "new": ""},
         "pattern_too_slow", "repetitions inside of repetitions"),
        ("replace_pattern", {"text": "a", "pattern": "a", "new": r"\7"}, "arguments_invalid",
         "cannot replace"),
        ("replace_pattern", {"text": "a" * 20_000, "pattern": "a", "new": "b" * 1_000},
         "result_too_large", "the limit is 10,000,000"),
        ("decode", {"text": "§", "encoding": "base64"}, "arguments_invalid", "no text as base64"),
        ("decode", {"text": "ff", "encoding": "hex"}, "arguments_invalid", "no text as hex"),
        ("decode", {"text": "%ff", "encoding": "url"}, "arguments_invalid", "no text as url"),
        ("read_json", {"text": "{"}, "arguments_invalid", "no JSON"),
        ("read_json", {"text": "[" * 100_000}, "arguments_invalid", "no JSON"),
        ("read_json", {"text": '{"a": [1]}', "pointer": "/a/1"}, "not_found", "nothing at '/a/1'"),
        ("hash_text", {"text": "a", "algorithm": "rot13"}, "arguments_invalid", "sha256"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_with_clear_words(tool, args, code, words):
    done = await call(tool, **args)
    assert done.error.code == code
    assert words in done.error.message
    assert not done.error.retryable


@given(text=st.text(), encoding=st.sampled_from(["base64", "hex", "url"]))
async def test_what_is_encoded_is_decoded_again(text, encoding):
    encoded = (await call("encode", text=text, encoding=encoding)).output
    assert (await call("decode", text=encoded, encoding=encoding)).output == text
