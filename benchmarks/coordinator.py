"""The coordinator that is measured: the service as it is, with a profile where one is asked for."""

from __future__ import annotations

import sys

from starlings.service import run_service
from starlings_coordinator.service import serve
from starlings_coordinator.settings import CoordinatorSettings

from .profiled import profiled

if __name__ == "__main__":
    sys.exit(
        profiled("coordinator", lambda: run_service("coordinator", serve, CoordinatorSettings))
    )
