"""The commands of `docs/durability.md`, as they stand there, on a running system."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"
FENCE = re.compile(r"^```sh(?: exit=(\d+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ARRIVED = "/tmp/starlings-goods-have-arrived"  # noqa: S108 - only to be replaced
WITHIN_S = 90.0
TOO_EARLY = 7  # as the run stands, nothing can be changed: people type more slowly
NONE_LISTED = b"no dead letter is open"  # the page lists dead letters only where there are some


@pytest.fixture
def system(services):
    """Run what `starlings dev examples/travel_saga/travel.py` runs."""
    travel = ROOT / "examples" / "travel_saga" / "travel.py"
    programs = ("math", "string", "sensor", f"{travel}:flights", f"{travel}:hotels")
    services.start("coordinator", "planner", *programs)
    return services


async def test_the_page_does_what_it_says(system, tmp_path):
    blocks = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 10
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    delivery = tmp_path / "examples" / "durability" / "delivery.yaml"
    arrived = str(tmp_path / "arrived")
    delivery.write_text(delivery.read_text().replace(ARRIVED, arrived))
    for exit_code, block in blocks:
        for line in block.strip().splitlines():
            here = line.replace(ARRIVED, arrived)
            here = here.replace("starlings.requests", system.topics.requests)
            await typed(here, tmp_path, system.env, expected=int(exit_code or 0))


async def typed(line: str, folder: Path, env: dict[str, str], *, expected: int) -> None:
    """Type a line into a shell; again where it came before the run was that far."""
    function = f'starlings() {{ "{sys.executable}" -m starlings.cli "$@"; }}\n'
    async with asyncio.timeout(WITHIN_S):
        while True:
            shell = await asyncio.create_subprocess_exec(
                *("bash", "-o", "pipefail", "-c", function + line),
                cwd=folder,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await shell.communicate()
            if shell.returncode == expected and NONE_LISTED not in said:
                return
            told = f"{line}\nended with {shell.returncode}, not {expected}:\n{said.decode()}"
            assert shell.returncode == TOO_EARLY or NONE_LISTED in said, told
