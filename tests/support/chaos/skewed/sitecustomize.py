"""A wall clock that is wrong, for one process: loaded by Python at its start, before all else.

The file that CHAOS_CLOCK names holds by how many seconds `time.time` and `time.time_ns` are off;
it may change at any moment. The monotonic clock stays as it is, as it does where an operator or NTP
sets the time.
"""

import os
import time

LOOK_EVERY_S = 0.05


def _skew() -> None:
    file = os.environ["CHAOS_CLOCK"]
    right_ns, monotonic = time.time_ns, time.monotonic
    known = [0.0, 0]  # when looked at last, nanoseconds off

    def off_ns() -> int:
        if monotonic() - known[0] > LOOK_EVERY_S:
            known[0] = monotonic()
            try:
                with open(file) as told:  # noqa: PTH123 - at the start of Python, nothing is loaded
                    known[1] = int(float(told.read() or 0) * 1e9)
            except (OSError, ValueError):
                known[1] = 0
        return int(known[1])

    time.time_ns = lambda: right_ns() + off_ns()
    time.time = lambda: time.time_ns() / 1e9


if "CHAOS_CLOCK" in os.environ:
    _skew()
