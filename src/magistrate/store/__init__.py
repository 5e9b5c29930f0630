"""The store door: an append-only ledger in SQLite, and the state rows that its entries make."""

from magistrate.core.state import TABLES
from magistrate.store.rows import Row
from magistrate.store.sqlite import Store
from magistrate.store.txn import Fold, Need, Remembered, Txn, View

__all__ = ["TABLES", "Fold", "Need", "Remembered", "Row", "Store", "Txn", "View"]
