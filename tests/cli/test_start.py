"""Starting the command line loads what every verb needs, and not what one of them does."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("heavy", ["aiohttp", "fastapi", "joserfc", "sqlite_utils", "uvicorn", "yaml"])
def test_what_one_verb_needs_is_not_loaded_by_all(heavy):
    said = f"import sys, magistrate.cli.app; sys.exit({heavy!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", said], check=False).returncode == 0
