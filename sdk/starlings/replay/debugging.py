"""A debugger within a step: it stops where an agent's function begins, and where it has failed.

Functions run in the main thread meanwhile, plain ones too, since a debugger needs the terminal; the
event loop stands still while it is used. What an author's function calls itself (as in `ctx.once`)
is stepped into like all else, and not stopped at.
"""

from __future__ import annotations

import inspect
import sys
from bdb import BdbQuit
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pdb import Pdb
from types import CodeType, TracebackType
from typing import Any

from starlings.agents.threads import called_by

_within: ContextVar[bool] = ContextVar("starlings_debugged", default=False)


@contextmanager
def debugged() -> Generator[None]:
    """Debug the functions of agents that are called in this block."""
    with called_by(_call):
        yield


async def _call(function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    if _within.get():
        return await _returned(function(**kwargs))
    token = _within.set(True)
    try:
        _stop_at(function)
        return await _returned(function(**kwargs))
    except BdbQuit:
        raise KeyboardInterrupt from None
    except Exception as error:
        _look_at(error)
        raise
    finally:
        sys.settrace(None)
        _within.reset(token)


async def _returned(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _stop_at(function: Callable[..., Any]) -> None:
    """Stop at the first line of a function, whenever it is entered."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if not isinstance(code, CodeType):  # something callable that is written elsewhere
        return
    debugger = Pdb()
    problem = debugger.set_break(
        code.co_filename, code.co_firstlineno, temporary=True, funcname=code.co_name
    )
    if problem is None:
        debugger.reset()
        debugger.botframe = sys._getframe()  # noqa: SLF001 - as `set_trace` does, which stops here
        debugger.set_continue()
        sys.settrace(debugger.trace_dispatch)


def _look_at(error: Exception) -> None:
    """Let somebody look at where it was raised."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next  # begin at the author's own
    if trace is None:
        return
    sys.settrace(None)
    print(f"{type(error).__name__}: {error}")  # noqa: T201 - the debugger speaks like this, too
    debugger = Pdb()
    debugger.reset()
    debugger.interaction(None, trace)
