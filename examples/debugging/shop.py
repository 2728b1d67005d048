"""What an order costs. There is a mistake in it, which docs/debugging.md finds."""

from __future__ import annotations

from pydantic import BaseModel
from suppliers import SUPPLIERS

from starlings import Agent, StepContext

prices = Agent("prices", description="Says what items cost at suppliers today")
bills = Agent("bills", description="Writes bills")


class Item(BaseModel):
    """What is ordered."""

    name: str
    count: int = 1


@prices.step
async def price(item: Item, ctx: StepContext) -> float:
    """Ask one supplier, at the next attempt the other."""
    supplier = SUPPLIERS[(ctx.attempt - 1) % len(SUPPLIERS)]
    quote = await ctx.once("quote", lambda: supplier.quote(item.name))
    each = float(quote.replace(",", "."))
    return item.count * each


@bills.tool(idempotent=True)
def bill(costs: dict[str, float]) -> str:
    """Write a bill."""
    lines = [f"{name} {cost:.2f}" for name, cost in costs.items()]
    return f"{' + '.join(lines)} = {sum(costs.values()):.2f} EUR"
