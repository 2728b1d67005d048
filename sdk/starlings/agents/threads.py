"""Plain functions of agent authors, run in threads so that they never stop the event loop.

Python cannot stop a thread. When a step's time is up, or the step is cancelled, its function is
abandoned: the thread works on until the function returns, and what it returns is dropped. Such a
thread is lost to no pool (the next call gets a new one), and being a daemon it does not keep the
process alive. The event loop's own executor does neither: a few hanging functions would use it up,
and its threads are joined at exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

IDLE_LIMIT = 32


@dataclass(frozen=True)
class _Work:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Any, BaseException | None]]

    def run(self) -> tuple[Any, BaseException | None]:
        try:
            return self.function(), None
        except BaseException as error:  # raised again in the task that waits
            return None, error

    def settle(self, ended: tuple[Any, BaseException | None]) -> None:
        if not self.done.done():  # else nobody waits any more
            self.done.set_result(ended)


class _Worker(threading.Thread):
    """A thread that does one function after the other, as long as there are few idle ones."""

    def __init__(self) -> None:
        super().__init__(name="starlings-tool", daemon=True)
        self.tasks: SimpleQueue[_Work] = SimpleQueue()

    def run(self) -> None:
        while True:
            work = self.tasks.get()
            ended = work.run()
            stays = len(_idle) < IDLE_LIMIT
            if stays:
                _idle.append(self)
            with suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits
                work.loop.call_soon_threadsafe(work.settle, ended)
            if not stays:
                return
            del work, ended  # an idle thread holds on to no result


_idle: deque[_Worker] = deque()

Caller = Callable[[Callable[..., Any], dict[str, Any]], Awaitable[Any]]
_caller: ContextVar[Caller | None] = ContextVar("starlings_caller", default=None)


@contextmanager
def called_by(caller: Caller) -> Generator[None]:
    """Have the functions of authors called in this block by somebody else, such as a debugger."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in a thread of its own; when this is cancelled, the thread is abandoned."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    work = _Work(lambda: context.run(function), loop, loop.create_future())
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.tasks.put(work)
    value, error = await work.done
    if error is not None:
        raise error
    return value


async def call(function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Call an author's function, plain or async.

    `sys.exit()` in it ends the step, not the service.
    """
    caller = _caller.get()
    try:
        if caller is not None:
            return await caller(function, kwargs)
        if inspect.iscoroutinefunction(function):
            return await function(**kwargs)
        returned = await in_thread(lambda: function(**kwargs))
        return await returned if inspect.isawaitable(returned) else returned
    except SystemExit as error:
        raise RuntimeError(f"the function called sys.exit({error.code!r})") from None
