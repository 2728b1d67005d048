"""Names that a package offers, each imported when it is first asked for.

So a part of the SDK loads without the libraries of the others, and works where they are not
installed. The package declares the same names under `TYPE_CHECKING`, where type checkers read them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def imported_on_demand(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` (PEP 562); what it has imported stays in the package.

    `homes` has the names by their modules, which are written as in `from .module import name`.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def import_name(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        value = getattr(import_module(home_of[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return import_name
