"""Free choreography: three agents that hear each other's events. Nobody plans, nobody commands.

support hears of tickets, technical of repairs, notification of whatever the customer should know.
Each can be started, stopped, scaled and replaced on its own, and a fourth may listen in any time.
"""

from __future__ import annotations

from starlings import Agent, Event, EventContext

support = Agent("support", description="Answers simple tickets, hands on the others")
technical = Agent("technical", description="Repairs what support cannot answer")
notification = Agent("notification", description="Tells customers how their tickets stand")

ANSWERS = {"password": "reset it on the login page", "invoice": "it is in your mailbox"}


class TicketCreated(Event):
    """A customer asks for help."""

    number: int
    customer: str
    text: str


class RepairNeeded(Event):
    """Support has no answer."""

    number: int
    customer: str
    symptom: str


class TicketSolved(Event):
    """Somebody has found what helps."""

    number: int
    customer: str
    solution: str


class CustomerNotified(Event):
    """The customer knows."""

    number: int
    message: str


@support.on(TicketCreated)
async def triage(ticket: TicketCreated) -> TicketSolved | RepairNeeded:
    """Answers what is known, and says of the rest that somebody has to look at it."""
    known = next((ANSWERS[word] for word in ANSWERS if word in ticket.text.lower()), None)
    who = {"number": ticket.number, "customer": ticket.customer}
    if known is not None:
        return TicketSolved(**who, solution=known)
    return RepairNeeded(**who, symptom=ticket.text)


@technical.on(RepairNeeded)
async def repair(job: RepairNeeded, ctx: EventContext) -> TicketSolved:
    """Repairs."""
    ctx.log.info("repairing", number=job.number)
    done = f"replaced what was broken ({job.symptom})"
    return TicketSolved(number=job.number, customer=job.customer, solution=done)


@notification.on(TicketSolved)
async def notify(ticket: TicketSolved, ctx: EventContext) -> CustomerNotified:
    """Writes to the customer."""
    message = f"Dear {ticket.customer}, ticket {ticket.number} is solved: {ticket.solution}."
    # a repeat after a crash has the same key: a mail provider that is told sends it only once
    ctx.log.info("sending", message=message, key=ctx.idempotency_key)
    return CustomerNotified(number=ticket.number, message=message)
