"""Run agents as a service: `python -m starlings.agents module:agent [module:agent …]`.

Where none is named, those that `STARLINGS_AGENTS` names: an image says so which agent it is.
"""

from __future__ import annotations

import os
import sys

from starlings.messages import ConfigError

from .loading import load_agents
from .service import run_agents


def main(specs: list[str]) -> int:
    """Load agents by their names and run them; return the exit code."""
    specs = specs or os.environ.get("STARLINGS_AGENTS", "").split() or [""]
    try:
        agents = [agent for spec in specs for agent in load_agents(spec)]
    except ConfigError as error:
        print(f"agent: {error}", file=sys.stderr)  # noqa: T201 - for who starts it
        return 2
    return run_agents(agents)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
