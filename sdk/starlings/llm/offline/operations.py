"""What the offline model knows: operations, how people say them, which tools do them.

A phrase is a small pattern: `a|b` is either word, `[a]` may be left out, `{role}` is an operand,
`{list}` two or more of them. A `!` in `{a!}` keeps a following infix operator out of the operand.
A role that a phrase leaves out stands for the previous result, except where `fixed` gives it.
The first command is how we say the operation ourselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Area(Enum):
    """A field of work; agents that do not list their tools are known by it."""

    MATH = "math"
    TEXT = "text"
    WEATHER = "weather"


AGENT_NAMES = {
    Area.MATH: ("math", "maths", "calculator", "arithmetic"),
    Area.TEXT: ("string", "strings", "text"),
    Area.WEATHER: ("weather",),
}
NUMERIC_ROLES = frozenset({"a", "b", "count", "days"})


@dataclass(frozen=True)
class Known:
    """One operation: what it takes, how it is said, which tools do it."""

    name: str
    area: Area
    roles: tuple[str, ...]
    tools: tuple[str, ...]
    commands: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    numeric: bool = field(default=False)  # whether the result is a number


def _math(
    name: str,
    *commands: str,
    tools: str,
    roles: str = "a b",
    phrases: tuple[str, ...] = (),
    nouns: tuple[str, ...] = (),
) -> Known:
    return Known(
        name,
        Area.MATH,
        tuple(roles.split()),
        tuple(tools.split()),
        commands,
        phrases,
        nouns,
        numeric=True,
    )


def _text(
    name: str,
    *commands: str,
    tools: str,
    roles: str = "text",
    phrases: tuple[str, ...] = (),
    nouns: tuple[str, ...] = (),
    numeric: bool = False,
) -> Known:
    return Known(
        name,
        Area.TEXT,
        tuple(roles.split()),
        tuple(tools.split()),
        commands,
        phrases,
        nouns,
        numeric,
    )


def _counting(thing: str, one: str, tools: str) -> Known:
    """Describe counting of words, letters and the like."""
    return _text(
        f"count_{thing}",
        f"count the {thing} in {{text}}",
        f"count [all] [the] [number] [of] {thing}|{one}s in|of|from {{text}}",
        f"count [the] {thing}",
        f"how many {thing} are [there] in {{text}}",
        f"how many {thing} is [there] in {{text}}",
        f"how many {thing} in {{text}}",
        f"how many {thing} does|do {{text}} have|contain",
        f"how many {thing} has {{text}}",
        tools=tools,
        phrases=(
            f"number|count of {thing} in|of {{text}}",
            f"{one} count of|for|in {{text}}",
            f"{thing} in {{text}}",
        ),
        nouns=(f"{one} count", f"{thing} count", f"number of {thing}", f"count of {thing}", thing),
        numeric=True,
    )


def _case(name: str, tools: str, *ways: str) -> Known:
    """Describe a change of case, by how people call it."""
    commands = [f"convert {{text}} to {ways[0]}"]
    for way in ways:
        commands += [
            f"convert|turn|change|transform|put|translate {{text}} to|into|in [all] {way}",
            f"make {{text}} [all] [to] {way}",
            f"write|print|show|spell {{text}} in [all] {way}",
            f"{{literal}} in|to [all] {way}",
        ]
    commands += [f"{ways[0]} {{text}}", f"{ways[-1]} {{text}}"]
    nouns = tuple(f"{way} {thing}" for way in ways for thing in ("text", "string", "version"))
    phrases = (f"{ways[0]} of {{text}}", f"{ways[0]} version of {{text}}")
    return _text(name, *commands, tools=tools, phrases=phrases, nouns=nouns)


_ARITHMETIC = (
    _math(
        "add",
        "add {a} and {b}",
        "add {b} to {a}",
        "add|sum [up] [together] {list}",
        "add {b}",
        tools="add plus sum addition",
        phrases=("sum|total|addition of {list}",),
        nouns=("sum", "total", "addition"),
    ),
    _math(
        "subtract",
        "subtract {b} from {a}",
        "deduct|take [away] {b} from {a}",
        "subtract {b}",
        tools="subtract minus subtraction difference sub",
        phrases=("difference between|of {a} and {b}",),
        nouns=("difference", "subtraction"),
    ),
    _math(
        "multiply",
        "multiply {a} by {b}",
        "multiply {a} with|times {b}",
        "multiply [together] {list}",
        "multiply by|with {b}",
        tools="multiply times product multiplication mul",
        phrases=("product|multiplication of {list}",),
        nouns=("product", "multiplication"),
    ),
    _math(
        "divide",
        "divide {a} by {b}",
        "divide by {b}",
        tools="divide quotient division div",
        phrases=("quotient|division of {a} and|by {b}", "ratio of {a} to|and {b}"),
        nouns=("quotient", "ratio", "division"),
    ),
    _math(
        "modulo",
        "take the remainder of {a!} divided by {b}",
        "take|calculate|get {a!} modulo|mod {b}",
        tools="modulo mod remainder modulus",
        phrases=("remainder of {a!} divided by {b}", "remainder of {a!} and {b}"),
        nouns=("remainder", "modulus"),
    ),
    _math(
        "power",
        "raise {a!} to the power of {b}",
        "raise {a!} to [the] [power] [of] {b}",
        "raise to the power of {b}",
        tools="power pow exponent exponentiate raise_to_power",
        nouns=("power",),
    ),
    _math(
        "square_root",
        "take the square root of {a}",
        "take|calculate|find [the] square root",
        tools="square_root sqrt root",
        roles="a",
        phrases=("square root of {a}", "square root {a}", "sqrt [of] {a}"),
        nouns=("square root", "root"),
    ),
    _math(
        "factorial",
        "take the factorial of {a}",
        "take|calculate|find [the|its] factorial",
        tools="factorial fact",
        roles="a",
        phrases=("factorial of {a}", "factorial {a}"),
        nouns=("factorial",),
    ),
    _math(
        "absolute",
        "take the absolute value of {a}",
        tools="absolute abs absolute_value",
        roles="a",
        phrases=("absolute value of {a}",),
        nouns=("absolute value",),
    ),
    _math(
        "round",
        "round {a}",
        "round {a} to [the] [nearest] [whole] integer|number",
        "round [off]",
        tools="round",
        roles="a",
    ),
    _math(
        "gcd",
        "find the greatest common divisor of {a} and {b}",
        tools="gcd greatest_common_divisor",
        phrases=("greatest common divisor of {a} and {b}", "gcd of {a} and {b}"),
        nouns=("greatest common divisor", "gcd"),
    ),
    _math(
        "lcm",
        "find the least common multiple of {a} and {b}",
        tools="lcm least_common_multiple",
        phrases=("least common multiple of {a} and {b}", "lcm of {a} and {b}"),
        nouns=("least common multiple", "lcm"),
    ),
)

_TEXTS = (
    _counting("words", "word", "count_words word_count words"),
    _counting("letters", "letter", "count_letters letter_count letters"),
    _counting("characters", "character", "count_characters character_count length"),
    _counting("vowels", "vowel", "count_vowels vowels"),
    _text(
        "length",
        "find the length of {text}",
        "how long is {text}",
        tools="length string_length count_characters character_count",
        phrases=("length of {text}",),
        nouns=("length",),
        numeric=True,
    ),
    _text(
        "occurrences",
        "count the occurrences of {part} in {text}",
        "count [how] [often] {part} occurs|appears in {text}",
        "how often|frequently does {part} occur|appear in {text}",
        "how many times does {part} occur|appear in {text}",
        tools="count_occurrences occurrences count_substring count",
        roles="part text",
        phrases=("number of occurrences of {part} in {text}",),
        nouns=("number of occurrences", "occurrences"),
        numeric=True,
    ),
    _text(
        "reverse",
        "reverse {text}",
        "write|spell|say|read {text} backwards|backward",
        "turn {text} around|round",
        "{literal} backwards|backward|reversed",
        tools="reverse reverse_text reverse_string",
        phrases=("reverse|reversal of {text}",),
        nouns=("reversed text", "reversed string", "reversed word", "reversal"),
    ),
    _case(
        "uppercase",
        "uppercase upper to_upper to_uppercase upper_case",
        *("uppercase", "capitals", "capital letters", "upper case"),
    ),
    _case(
        "lowercase",
        "lowercase lower to_lower to_lowercase lower_case",
        *("lowercase", "small letters", "lower case"),
    ),
    _case("title_case", "title_case title titlecase to_title", "title case", "titlecase"),
    _text(
        "capitalize",
        "capitalize {text}",
        "capitalise {text}",
        tools="capitalize capitalise",
    ),
    _text(
        "replace",
        "replace {old} with {new} in {text}",
        "replace|substitute|change|swap [all] [every] [each] {old} with|by|for|to {new} in {text}",
        "replace|substitute {old} with|by {new}",
        tools="replace replace_text substitute",
        roles="text old new",
    ),
    _text(
        "concatenate",
        "concatenate {left} and {right}",
        "concatenate|join|combine|glue [together] {list}",
        tools="concatenate concat",
        roles="left right",
        phrases=("concatenation of {list}",),
        nouns=("concatenation", "combined text"),
    ),
    _text(
        "repeat",
        "repeat {text} {count} times",
        "repeat {count} times",
        tools="repeat repeat_text",
        roles="text count",
    ),
    _text("trim", "trim {text}", "strip {text}", tools="trim strip"),
    _text(
        "palindrome",
        "check whether {text} is a palindrome",
        "check if {text} is a palindrome",
        "is {text} a palindrome",
        tools="is_palindrome palindrome check_palindrome",
    ),
)

_NOW = "[now] [right] [today] [currently] [like]"
_WEATHER = (
    Known(
        "weather",
        Area.WEATHER,
        ("place",),
        ("current_weather", "get_weather", "weather", "get_current_weather", "current"),
        (
            "get the weather in {place}",
            f"get|check|show [the] [current] weather {_NOW} in|at|for|of {{place}}",
            "how warm|cold|hot|is [is] [it] in {place}",
            f"how is the weather {_NOW} in|at {{place}}",
        ),
        (f"[current] weather|temperature|conditions {_NOW} in|at|for|of {{place}}",),
        ("weather", "temperature"),
    ),
    Known(
        "forecast",
        Area.WEATHER,
        ("place",),
        ("forecast", "get_forecast", "weather_forecast", "daily_forecast"),
        ("get the forecast for {place}", "will it rain in {place}"),
        ("[weather] forecast in|at|for|of {place}",),
        ("forecast",),
    ),
)

OPERATIONS: dict[str, Known] = {known.name: known for known in (*_ARITHMETIC, *_TEXTS, *_WEATHER)}


@dataclass(frozen=True)
class Shortcut:
    """Another way to say an operation, with some of its operands given by the words."""

    operation: str
    command: str
    fixed: dict[str, str]
    is_phrase: bool = False


SHORTCUTS = (
    Shortcut("power", "square {a}", {"b": "2"}),
    Shortcut("power", "cube {a}", {"b": "3"}),
    Shortcut("power", "square of {a}", {"b": "2"}, is_phrase=True),
    Shortcut("power", "cube of {a}", {"b": "3"}, is_phrase=True),
    Shortcut("multiply", "double {a}", {"b": "2"}),
    Shortcut("multiply", "triple {a}", {"b": "3"}),
    Shortcut("multiply", "double|twice {a}", {"b": "2"}, is_phrase=True),
    Shortcut("multiply", "triple {a}", {"b": "3"}, is_phrase=True),
    Shortcut("divide", "halve {a}", {"b": "2"}),
    Shortcut("divide", "half [of] {a}", {"b": "2"}, is_phrase=True),
)

AREA_NOUNS = {
    "calculation": Area.MATH,
    "calculated": Area.MATH,
    "computation": Area.MATH,
    "math": Area.MATH,
    "arithmetic": Area.MATH,
    "text": Area.TEXT,
    "string": Area.TEXT,
}
