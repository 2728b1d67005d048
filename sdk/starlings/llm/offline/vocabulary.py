"""The words between operations: how clauses begin, end and are joined, and infix operators."""

from __future__ import annotations

from .cursor import Words


def _phrases(text: str) -> tuple[Words, ...]:
    """Split a `|`-separated list, longest first, so that no phrase hides a longer one."""
    return tuple(sorted((tuple(p.split()) for p in text.split("|")), key=len, reverse=True))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SEPARATORS = _words("and then also next finally afterwards lastly after")
STOPS = frozenset(",;.!?:&")
LEADS = _phrases(
    "can you|could you|would you|will you|i want you to|i want to|i want|i would like you to|"
    "i would like to|i would like|i'd like to|i'd like|i need to|i need|let's|let us|please|kindly|"
    "now|first|ok|okay|hello|hi|hey|so|that|in the end|at the end|use the result to|"
    "calculate|compute|evaluate|what is|what's|what are|whats|how much is|how much are|work out|"
    "figure out|find out|find|determine|solve|tell me|give me|get me|show me|let me know|get|"
    "return|show|do|take|the result of"
)
TAILS = _phrases(
    "together|please|for me|altogether|thanks|thank you|right now|now|today|currently|"
    "at the moment|as well|too|instead|in total|like"
)
FILLERS = _words(
    "the a an this following text string sentence phrase word words of named called input"
)
UNQUOTABLE = _words(
    "it that this them both these those all the an to in of by with from and then my your"
)
PLACE_STOPS = _words(
    "and then also next finally today tomorrow now right currently at for in on by with is the "
    "please this from to"
)

Operators = tuple[tuple[Words, str], ...]

SUM: Operators = (
    (("+",), "add"),
    (("plus",), "add"),
    (("added", "to"), "add"),
    (("-",), "subtract"),
    (("minus",), "subtract"),
)
PRODUCT: Operators = (
    (("*",), "multiply"),
    (("times",), "multiply"),
    (("x",), "multiply"),
    (("multiplied", "by"), "multiply"),
    (("multiplied", "with"), "multiply"),
    (("/",), "divide"),
    (("divided", "by"), "divide"),
    (("over",), "divide"),
    (("modulo",), "modulo"),
    (("mod",), "modulo"),
    (("%",), "modulo"),
)
POWER: Operators = (
    (("^",), "power"),
    (("to", "the", "power", "of"), "power"),
    (("raised", "to", "the", "power", "of"), "power"),
    (("raised", "to"), "power"),
)
POSTFIX: tuple[tuple[Words, str, str | None], ...] = (
    (("!",), "factorial", None),
    (("factorial",), "factorial", None),
    (("squared",), "power", "2"),
    (("cubed",), "power", "3"),
    (("²",), "power", "2"),
    (("³",), "power", "3"),
)
PERCENT = _phrases("percent of|per cent of|% of")
NEGATIVE = _phrases("-|minus|negative")
BETWEEN_ITEMS = _phrases(", and|,|and|with|to")
