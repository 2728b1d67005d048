"""Finding the JSON in a model's answer: what is tolerated, and what is never repaired."""

from __future__ import annotations

import time

import pytest

from starlings.llm.parsing import UnreadableAnswer, parse_answer

PLAN = {"steps": [{"id": "s1", "task": "Count words in 'a b'"}], "cannot": None}


def has_steps(value):
    return isinstance(value, dict) and "steps" in value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"steps": [1]}', id="bare"),
        pytest.param('\ufeff {"steps": [1]}\n', id="byte order mark"),
        pytest.param('```json\n{"steps": [1]}\n```', id="code fence"),
        pytest.param('```\n{"steps": [1]}\n```\nHope it helps!', id="fence without a name"),
        pytest.param('Sure! Here you are:\n{"steps": [1]}\nAnything else?', id="prose around"),
        pytest.param("{'steps': [1]}", id="single quotes"),
        pytest.param('{"steps": [1,],}', id="trailing commas"),
        pytest.param('{\n  // the plan\n  "steps": [1] // it\'s short\n}', id="comments"),
        pytest.param("{steps: [1]}", id="names without quotes"),
        pytest.param('"{\\"steps\\": [1]}"', id="JSON within a JSON string"),
        pytest.param('<think>{"steps": [9]} or not</think>\n{"steps": [1]}', id="thought in front"),
        pytest.param('{"draft": 1} {"steps": [1]} {"steps": [2]}', id="first of several that fits"),
        pytest.param('Use {curly} braces: {"steps": [1]}', id="braces in prose"),
    ],
)
def test_the_value_is_found_whatever_stands_around_it(text):
    assert parse_answer(text, has_steps) == {"steps": [1]}


def test_apostrophes_in_single_quoted_strings_stay_what_they_are():
    assert parse_answer("{'steps': ['it's here', 'O'Neill']}") == {
        "steps": ["it's here", "O'Neill"]
    }


def test_double_quotes_in_single_quoted_strings_stay_what_they_are():
    found = parse_answer("""{'steps': ['say "hi"', 'say \\"ho\\"', 'it\\'s']}""")
    assert found == {"steps": ['say "hi"', 'say "ho"', "it's"]}


def test_python_words_become_json_values():
    found = parse_answer("{'steps': [True, False, None]}")
    assert found == {"steps": [True, False, None]}


def test_quotes_that_were_not_escaped_are_kept_in_the_text():
    found = parse_answer('{"steps": [{"task": "count words in "Hello World" now"}]}', has_steps)
    assert found == {"steps": [{"task": 'count words in "Hello World" now'}]}


def test_a_fence_inside_a_string_does_not_end_the_json():
    assert parse_answer('{"steps": ["```json {} ```"]}') == {"steps": ["```json {} ```"]}


@pytest.mark.parametrize(
    "text",
    [
        '{"steps": [{"id": "s1"}, {"id": "s2"',
        '{"steps": [1, 2]',
        '{"steps": ["unfinished]}',
        "{'steps': ['unfinished]}",
        '```json\n{"steps": [{"id": "s1"},\n```',
        '[{"tool": "add"}, {"tool": "mul',
        "Here it is: {",
        "[" * 50_000,
    ],
)
def test_json_that_ends_in_the_middle_is_reported_and_never_completed(text):
    with pytest.raises(UnreadableAnswer, match=r"cut off|no JSON"):
        parse_answer(text)


def test_a_whole_part_of_a_cut_off_answer_is_not_taken_for_the_answer():
    with pytest.raises(UnreadableAnswer, match="cut off"):
        parse_answer('[{"tool": "add", "args": {}}, {"tool":')


@pytest.mark.parametrize(
    "text",
    ['{"a": NaN}', '{"a": -Infinity}', "{'a': NaN}", "{a: [1, Infinity]}", '{"a": 1e999}'],
)
def test_numbers_that_json_does_not_have_are_refused(text):
    with pytest.raises(UnreadableAnswer, match="NaN or Infinity"):
        parse_answer(text)


def test_the_word_nan_within_a_text_is_just_a_word():
    assert parse_answer("{'a': 'NaN is Infinity',}") == {"a": "NaN is Infinity"}


@pytest.mark.parametrize("text", ["", "  \n", "\ufeff", "<think>hm</think>"])
def test_an_empty_answer_says_so(text):
    with pytest.raises(UnreadableAnswer, match="empty"):
        parse_answer(text)


@pytest.mark.parametrize("text", ["I would first add the numbers.", "42", '"text"', "null"])
def test_prose_and_bare_values_are_no_answer(text):
    with pytest.raises(UnreadableAnswer, match="no JSON"):
        parse_answer(text)


def test_json_of_another_shape_is_refused_in_words_that_say_so():
    with pytest.raises(UnreadableAnswer, match="shape"):
        parse_answer('{"answer": 42}', has_steps)


@pytest.mark.parametrize(
    "text",
    ["{" * 100_000, '{"a":' * 100_000, "{'a': '" + "x'" * 100_000, "[1] " * 100_000, "{a" * 90_000],
)
def test_hostile_answers_are_refused_or_read_in_bounded_time(text):
    began = time.monotonic()
    with pytest.raises(UnreadableAnswer):
        parse_answer(text, has_steps)
    assert time.monotonic() - began < 5


def test_an_answer_of_many_megabytes_is_not_read():
    with pytest.raises(UnreadableAnswer, match="characters"):
        parse_answer("{" + " " * 5_000_000 + "}")


@pytest.mark.parametrize("depth", [101, 300, 900])
def test_json_that_no_message_could_carry_is_refused_by_its_depth(depth):
    with pytest.raises(UnreadableAnswer, match="nested more than 100 levels deep"):
        parse_answer('{"a":' + "[" * depth + "]" * depth + "}")
