"""Folders as a service finds them, and an installation key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from magistrate.keys.kek import Kek, Places, find


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def lock(data: Path, state: Path) -> Kek:
    return find(data, Places(state=state), first_start=True)


@pytest.fixture(autouse=True)
def plain_umask():
    """Files are 0600 although the umask would allow everything."""
    before = os.umask(0)
    yield
    os.umask(before)
