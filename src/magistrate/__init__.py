"""Execution warrants for AI agents: signed, scoped, short-lived permissions to do exactly one thing."""

__version__ = "0.1.0"
