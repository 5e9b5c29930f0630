"""The HTTP porch: bytes to values and back. No rule lives here; FastAPI is seen nowhere else."""

from __future__ import annotations

from magistrate.api.app import create
from magistrate.api.server import Address, serve

__all__ = ["Address", "create", "serve"]
