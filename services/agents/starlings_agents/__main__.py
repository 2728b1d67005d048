"""Run built-in agents: `python -m starlings_agents math [string …]`."""

from __future__ import annotations

import sys

from starlings.agents.__main__ import main

if __name__ == "__main__":
    sys.exit(main([f"starlings_agents.{name}:agent" for name in sys.argv[1:]]))
