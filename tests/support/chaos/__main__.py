"""Play the scenarios: `python -m support.chaos [--seed N] [--only NAME]… [--bounded] [--list]`."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import structlog
import uvloop

from starlings.broker import LocalBroker

from .figures import table
from .play import Verdict, play
from .schedules import BOUNDED, FULL, SCENARIOS, Scenario, Size, dice

NAMES = [scenario.name for scenario in SCENARIOS]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides about all blows")
    parser.add_argument("--only", choices=NAMES, action="append", help="this one; repeatable")
    parser.add_argument("--bounded", action="store_true", help="less of everything")
    parser.add_argument("--keep", action="store_true", help="keep logs, whatever came of it")
    parser.add_argument("--list", action="store_true", help="print the schedules, and do nothing")
    return parser.parse_args()


def show(scenarios: list[Scenario], seed: int, size: Size) -> None:
    """Print what would be done."""
    for scenario in scenarios:
        print(f"{scenario.name}: {scenario.what}")
        for act in scenario.schedule(dice(seed, scenario.name), size):
            print(f"  {act}")


async def play_all(scenarios: list[Scenario], seed: int, size: Size, folder: Path) -> list[Verdict]:
    """Play one after the other on one broker of our own."""
    verdicts = []
    with LocalBroker(folder / "kafka", settings=_settings(size)) as broker:
        for scenario in scenarios:
            print(f"… {scenario.name}: {scenario.what}", file=sys.stderr, flush=True)
            own = folder / scenario.name
            own.mkdir()
            verdict = await play(
                scenario,
                seed=seed,
                size=size,
                bootstrap=broker.bootstrap,
                folder=own,
                broker=broker,
            )
            print(f"  {verdict.took_s:.0f} s", file=sys.stderr, flush=True)
            verdicts.append(verdict)
            if verdict.findings:
                print(verdict.report(), flush=True)
    return verdicts


def _settings(size: Size) -> dict[str, str]:
    return {"group.min.session.timeout.ms": str(int(min(size.session_s, 6.0) * 1000))}


def main() -> int:
    """Play, print the table, and say by the exit code whether every audit was clean."""
    asked = arguments()
    size = BOUNDED if asked.bounded else FULL
    chosen = [s for s in SCENARIOS if not asked.only or s.name in asked.only]
    if asked.list:
        show(chosen, asked.seed, size)
        return 0
    # Clients tell at length of a broker that is away, which is what we want it to be.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    folder = Path(tempfile.mkdtemp(prefix="starlings-chaos-"))
    began_s = time.monotonic()
    try:
        verdicts = uvloop.run(play_all(chosen, asked.seed, size, folder))
    except (KeyboardInterrupt, SystemExit):
        shutil.rmtree(folder)
        raise
    print(f"\nseed {asked.seed}\n\n{table([v.figures for v in verdicts])}")
    print(f"\ntook {time.monotonic() - began_s:.0f} s")
    failed = any(verdict.findings for verdict in verdicts)
    if failed or asked.keep:
        print(f"everything is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
