"""Run the planner: `python -m starlings_planner`."""

from __future__ import annotations

import sys

from starlings.service import run_service

from .service import serve
from .settings import PlannerSettings

if __name__ == "__main__":
    sys.exit(run_service("planner", serve, PlannerSettings))
