"""Who gives a word: a name that was given, or the user of the machine."""

from __future__ import annotations

import getpass
import os

import pytest
import typer

from starlings.cli.author import author


def test_a_name_that_is_given_goes_before_the_user_of_the_machine():
    assert author(" Ann of accounting ") == "Ann of accounting"
    assert author() == getpass.getuser()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "\x1b[31m"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(typer.BadParameter, match="--by needs a name"):
        author(name)


def test_a_user_without_a_name_is_told_by_its_number(monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_111_222)
    assert author() == "uid 4000111222"
