"""The pinned OPA, and a small bundle that passes the gate."""

from pathlib import Path

import pytest

from magistrate.policy.binary import PINNED, Binary, sha256_of
from magistrate.policy.bundle import Bundle
from tests.policy import trees
from tests.support.rego_tools import opa


@pytest.fixture(scope="session")
def binary() -> Binary:
    path = Path(opa())
    return Binary(path, PINNED, sha256_of(path), "setting")


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.read(trees.packed())
