"""What the headers of a coordinator's facts tell without their bodies, as coordinators read it."""

from __future__ import annotations

from collections.abc import Mapping

from starlings import choreography
from starlings.messages import EventHandled, RunDone, generation_id, generation_of

CONFIRMING = {kind.encode(): name for kind, name in choreography.CONFIRMING.items()}
RUN_DONE, HANDLED = RunDone.CE_TYPE.encode(), EventHandled.CE_TYPE.encode()
DECIDED = {*CONFIRMING, RUN_DONE}


def decided_by(kind: bytes, headers: Mapping[str, bytes]) -> tuple[str, str] | None:
    """Name the run, and the decision that a record of a coordinator is or confirms.

    None where its headers do not tell.
    """
    try:
        run_id, ident = headers["ce_subject"].decode(), headers["ce_id"].decode()
    except (KeyError, UnicodeDecodeError, AttributeError):  # a header may be there without a value
        return None
    if not run_id or not ident:
        return None
    if kind == RUN_DONE:
        generation = generation_of(ident, RunDone.NAME)
        return run_id, generation_id(run_id, RunDone.NAME, generation)
    decision_id = choreography.confirmed_decision(CONFIRMING[kind], ident)
    return None if decision_id is None else (run_id, decision_id)
