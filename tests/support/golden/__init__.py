"""Logs that were recorded once, and must be decided in the same way for ever."""
