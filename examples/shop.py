"""An agent of one's own: two tools, which a model chooses or a plan names."""

from __future__ import annotations

from starlings import Agent

shop = Agent("shop", description="Sells things: orders an item, says what is in stock")

STOCK = {"feather": 12, "worm": 3}


@shop.tool
def order(item: str, count: int = 1) -> str:
    """Orders an item."""
    return f"{count} x {item} ordered"


@shop.tool
def stock(item: str) -> int:
    """Says how many of an item are in stock."""
    return STOCK.get(item, 0)
