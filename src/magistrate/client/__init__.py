"""The client: HTTP and `core`. What it is told, it can check."""

from __future__ import annotations

from magistrate.client.http import Client, Credential

__all__ = ["Client", "Credential"]
