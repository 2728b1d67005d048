"""Charts of older releases, packaged by `helm package`: what they installed upgrades to today's.

Each release adds its own. `starlings-0.1.0.tgz` is the chart as it was first.
"""

from __future__ import annotations

from pathlib import Path

OLDER = sorted(Path(__file__).parent.glob("*.tgz"))
