"""Run the coordinator: `python -m starlings_coordinator`."""

from __future__ import annotations

import sys

from starlings.service import run_service

from .service import serve
from .settings import CoordinatorSettings

if __name__ == "__main__":
    sys.exit(run_service("coordinator", serve, CoordinatorSettings))
