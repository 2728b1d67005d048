"""Looking whether what this agent needs is installed: it comes with an extra."""

from __future__ import annotations

from importlib.util import find_spec

from starlings.messages import ConfigError


def check_installed(library: str) -> None:
    """Look for a library.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec(library) is None:
        raise ConfigError(
            f"the agent 'web_search' needs {library}: install it with "
            "pip install 'starlings-agents[web]'"
        )
