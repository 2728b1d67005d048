"""Two suppliers, as far as an example needs them: they write prices as people do where they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlings import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Supplier:
    """A supplier, and how it writes numbers."""

    name: str
    decimal: str
    asks: Mapping[str, str]

    async def quote(self, item: str) -> str:
        """Say what an item costs in EUR."""
        await asyncio.sleep(0.3)
        if item not in self.asks:
            raise TransientError(f"{self.name} does not answer about a {item}")
        return self.asks[item]


SUPPLIERS = (
    Supplier("Lindqvist", ",", {"nest box": "24,50"}),
    Supplier("Miller & Co.", ".", {"nest box": "25.10", "telescope": "1,249"}),
)
