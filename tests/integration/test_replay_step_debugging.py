"""`starlings replay step --pdb`: a recorded step is debugged at a terminal."""

from __future__ import annotations

import pytest
from support.recorded_steps import AGENT, RUN, recorded
from support.terminal import Terminal


@pytest.fixture
def debugger(recorder, tmp_path):
    opened: list[Terminal] = []

    def open_one(file: str) -> Terminal:
        command = ("replay", "step", RUN, "cup", "--from", file, "--agent", AGENT, "--pdb")
        opened.append(Terminal(*command, folder=tmp_path))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def test_the_debugger_stops_in_the_step_and_then_lets_it_go_on(recorder, debugger):
    terminal = debugger(recorded(recorder))
    assert "got = await ctx.once(" in terminal.until("(Pdb) ")
    terminal.type("p ctx.step_id, sorted(ctx.results)")
    assert "('cup', ['tea'])" in terminal.until("(Pdb) ")
    terminal.type("next")
    terminal.until("(Pdb) ")
    terminal.type("p got['price']")
    assert "3" in terminal.until("(Pdb) ")
    terminal.type("continue")
    assert terminal.end() == 0, terminal.said
    assert "the same came of it" in terminal.said


def test_the_debugger_shows_where_a_step_failed(recorder, debugger, tmp_path):
    file = recorded(recorder)
    (tmp_path / "broken.txt").write_text("x")
    terminal = debugger(file)
    terminal.until("(Pdb) ")
    terminal.type("continue")
    said = terminal.until("(Pdb) ")
    assert "ValueError: no change left" in said
    assert 'raise ValueError("no change left")' in said
    terminal.type("p got")
    assert "'price': 3" in terminal.until("(Pdb) ")
    terminal.type("quit")
    assert terminal.end() == 8
    assert "something else came of it" in terminal.said


def test_a_plain_function_is_debugged_in_the_main_thread_and_may_be_quit(
    recorder, debugger, tmp_path
):
    file = recorded(recorder)
    (tmp_path / "shop.py").write_text(
        "from starlings import Agent\n\nagent = Agent('shop', description='Buys')\n\n\n"
        "@agent.step\ndef buy(task: str) -> str:\n    return task\n"
    )
    terminal = debugger(file)
    assert "return task" in terminal.until("(Pdb) ")
    terminal.type("import threading; print(threading.current_thread() is threading.main_thread())")
    assert "True" in terminal.until("(Pdb) ")
    terminal.type("quit")
    assert terminal.end() == 130
