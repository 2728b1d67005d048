"""Forms: what they take, what typed text becomes, and that everything wrong is named."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from starlings.forms import Form, answer_name

FORM = {
    "question": "What shall be ordered?",
    "fields": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 10},
        "price": {"type": "number", "required": False},
        "fast": {"type": "boolean", "default": False},
        "kind": {"enum": ["apple", "pear"]},
        "day": {"format": "date", "required": False},
        "at": {"format": "date-time", "required": False},
        "tags": {"type": "array", "enum": ["a", "b"], "maxLength": 2, "required": False},
        "why": {"minLength": 2, "maxLength": 5, "required": False},
    },
}
GOOD = {"amount": 3, "kind": "pear"}


def form(**more) -> Form:
    return Form.model_validate({**FORM, **more})


def problems(**given) -> list[str]:
    return form().check({**GOOD, **given})[1]


def test_an_answer_is_filled_in_with_defaults():
    filled, wrong = form().check(GOOD)
    assert wrong == []
    assert (filled["amount"], filled["fast"], filled["price"]) == (3, False, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"amount": 0}, "amount: it has to be 1 or more"),
        ({"amount": 11}, "amount: it has to be 10 or less"),
        ({"amount": 2.5}, "of the type integer"),
        ({"amount": True}, "of the type integer"),
        ({"amount": None}, "amount: it is missing"),
        ({"price": "much"}, "of the type number"),
        ({"fast": 1}, "of the type boolean"),
        ({"kind": "plum"}, 'one of "apple", "pear"'),
        ({"day": "tomorrow"}, "as in 2030-12-31"),
        ({"at": "noon"}, "as in 2030-12-31T18:00:00Z"),
        ({"tags": ["c"]}, 'one of "a", "b"'),
        ({"tags": [1]}, "of the type array"),
        ({"tags": ["a", "b", "a"]}, "2 item(s) at most"),
        ({"why": "x"}, "2 character(s) or more"),
        ({"why": "xxxxxx"}, "5 character(s) at most"),
        ({"other": 1}, "other: no such field; there are amount"),
    ],
)
def test_what_is_wrong_is_named(given, words):
    assert any(words in problem for problem in problems(**given))


def test_all_problems_are_named_at_once():
    assert len(form().check({"amount": 0, "x": 1})[1]) == 3
    assert form().check([1])[1] == ["an answer has to be an object with the fields"]


def test_typed_text_is_read_by_the_type_of_its_field():
    typed = {"amount": " 3 ", "price": "2.5", "fast": "Yes", "kind": "pear", "tags": "a, b"}
    read = form().read(typed)
    assert read == {"amount": 3, "price": 2.5, "fast": True, "kind": "pear", "tags": ["a", "b"]}
    assert form().read({"amount": "many", "price": "x", "fast": "so", "no": "x"}) == {
        "amount": "many",
        "price": "x",
        "fast": "so",
        "no": "x",
    }
    assert form().read({"fast": "no", "price": "4"}) == {"fast": False, "price": 4}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"question": ""}, "at least 1 character"),
        ({"fields": {}}, "at least 1 item"),
        ({"fields": {"1x": {}}}, "pattern"),
        ({"fields": {"a": {"type": "file"}}}, "Input should be"),
        ({"fields": {"a": {"default": 5}}}, "the default 5 does not fit"),
        ({"default": {"amount": 99}}, "the default does not fit: amount"),
        ({"timeout_s": 0}, "greater than 0"),
    ],
)
def test_a_form_that_cannot_be_is_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        form(**wrong)


def test_the_name_of_an_answer_is_no_name_of_another_signal():
    assert answer_name("ask") == "answer.ask"
    assert len(answer_name("s" * 128)) <= 128
    assert answer_name("s" * 128) != answer_name("s" * 127 + "t")
