"""Reading the pictures in READMEs: the part of Mermaid's flowcharts that is used here, strictly.

What passes here, Mermaid draws. It takes more than this; what it takes in another way than it looks
(an unquoted bracket in a label, a node called `end`) is refused.
"""

from __future__ import annotations

import re

FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LABEL = r'(?:"[^"\n]+"|[^\[\](){}<>"|/\\\n]+)'
_SHAPES = [
    (r"\(\[", r"\]\)"), (r"\[\(", r"\)\]"), (r"\[/", r"/\]"), (r"\(\(", r"\)\)"),
    (r"\{", r"\}"), (r"\[", r"\]"), (r"\(", r"\)"),
]  # fmt: skip
_SHAPE = "|".join(f"{begin}{_LABEL}{end}" for begin, end in _SHAPES)
_NODE = rf"(?!end\b)(?P<id>[A-Za-z]\w*)(?:{_SHAPE})?"
_WORDS = r'(?:"[^"\n]+"|[^\[\](){}<>"|\-.\n]+)'
_ARROW = rf"<?--> ?(?:\|{_WORDS}\|)?|-- {_WORDS} -->|-\.->|-\. {_WORDS} \.->"
NODE, ARROW = re.compile(_NODE), re.compile(_ARROW)
_SUBGRAPH = re.compile(rf"subgraph [A-Za-z]\w*(?: \[{_LABEL}\])?")


def pictures(text: str) -> list[str]:
    """Find the diagrams on a page."""
    return FENCE.findall(text)


def problems(picture: str) -> list[str]:
    """Say what Mermaid would not draw as it looks."""
    head, *lines = [line.strip() for line in picture.splitlines() if line.strip()]
    found = [] if re.fullmatch(r"flowchart (LR|TB|TD)", head) else [f"no flowchart: {head!r}"]
    depth = 0
    for line in lines:
        if _SUBGRAPH.fullmatch(line):
            depth += 1
        elif line == "end":
            depth -= 1
        elif not _statement(line):
            found.append(f"not understood: {line!r}")
        if depth < 0:
            found.append("an end without its subgraph")
    return found if depth == 0 else [*found, "a subgraph without its end"]


def _statement(line: str) -> bool:
    """Read `a[…] -- words --> b[…] --> c`."""
    at, wanted = 0, NODE
    while True:
        part = wanted.match(line, at)
        if part is None:
            return False
        at = part.end()
        if at == len(line):
            return wanted is NODE
        if line[at] == " ":
            at += 1
        wanted = ARROW if wanted is NODE else NODE
