"""What every example has: a story, a picture that can be drawn, few lines of code, its command."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest
from support.mermaid import pictures, problems

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(readme.parent.name for readme in EXAMPLES.glob("*/README.md"))
LIMIT = 80
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(source: str) -> int:
    """Count lines that are neither empty, comments nor docstrings."""
    lines: set[int] = set()
    fresh = True  # at the beginning of a statement, where a text alone is a docstring
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        docstring = fresh and token.type == tokenize.STRING and token.line.strip().startswith('"""')
        if token.type not in _NO_CODE and not docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
        fresh = token.type in _NO_CODE and (fresh or token.type != tokenize.COMMENT)
    return len(lines)


def test_code_is_counted_without_words():
    words = '"""Doc."""\n\n# why\n'
    code = 'x = """a\nb"""\n\ndef f():\n    """Doc\n\n    more."""\n    return x\n'
    assert code_lines(words + code) == 4


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_fewer_lines_of_code_than_the_limit(name):
    sources = [path.read_text(encoding="utf-8") for path in (EXAMPLES / name).glob("**/*.py")]
    assert sum(map(code_lines, sources)) < LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_picture_that_can_be_drawn(name):
    drawn = pictures((EXAMPLES / name / "README.md").read_text(encoding="utf-8"))
    assert drawn
    assert [problem for picture in drawn for problem in problems(picture)] == []


@pytest.mark.parametrize(
    "line",
    [
        "a --> b(c (d))",
        "a --> end",
        "a -> b",
        "a[x --> b",
        "a -- b",
        'a["x" y] --> b',
        "subgraph one",
        "end",
        "a --> b c",
    ],
)
def test_a_picture_that_mermaid_draws_otherwise_is_noticed(line):
    assert problems(f"flowchart LR\n    {line}\n") != []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_stands_in_the_list_with_its_command(name):
    assert f"]({name}/README.md) |" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    commands = re.findall(
        r"^    (?:python examples/offline\.py )?starlings ",
        (EXAMPLES / name / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert commands


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_story_names_is_there(name):
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"examples/{name}/[\w.]+\w", readme))
    assert named
    assert [path for path in named if not (EXAMPLES.parent / path).is_file()] == []
