"""The commands of `docs/operations.md`, as they stand there, on a running system."""

from __future__ import annotations

import pytest
from support.cli_process import CommandLine
from support.doc_page import DOCS, commands_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(500)]
ROOT = DOCS.parent
AT_WORK = ("Is it well?", "Backup and disaster recovery", "Rights", "Sizing")
STOPPED = "More partitions"


async def test_the_page_does_what_it_says(services):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", "math")
    async with services.client() as client:
        await (await client.submit("add 2 and 3")).result(timeout_s=60)
    told = [(title, argv) for title in AT_WORK for argv in commands_of("operations.md", title)]
    services_first = [*told, *((STOPPED, a) for a in commands_of("operations.md", STOPPED))]
    assert len(services_first) >= 10
    for title, argv in services_first:
        if title == STOPPED and services.running:
            assert set(services.stop_all().values()) == {0}
        program, *rest = argv
        if program == "python":
            ended = await starlings(*rest[2:], program=rest[1], env={"PYTHONPATH": str(ROOT)})
        else:
            assert program == "starlings"
            ended = await starlings(*rest)
        assert ended.code == 0, f"{' '.join(argv)}: {ended.stdout}{ended.stderr}"
    assert len(await services.connection().partitions(services.topics.checkpoints("math"))) == 16
