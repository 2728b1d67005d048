"""The honest offline model: rules behind the OpenAI chat protocol, no language model.

It plans and picks tools for sums, texts and weather by a small grammar, so that demo, development
and tests need no key. It computes nothing itself, and says so plainly where it does not understand.
Start it alone with `python -m starlings.llm.offline --port N`, or in this process by
`offline_server()`.
"""

from __future__ import annotations

from .answers import MODEL
from .server import create_app, offline_server

__all__ = ["MODEL", "create_app", "offline_server"]
