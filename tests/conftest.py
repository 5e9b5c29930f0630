"""What every test shares. Keep it small: helpers live in tests/support."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import conformance

settings.register_profile("steady", deadline=None, print_blob=True)  # a busy machine is no failure
settings.load_profile("steady")

# Modules that take longest for the number of their tests. Begun last, one of them would keep one worker busy and the
# other idle; the order of all others is as collected.
LONGEST = (
    "engine/test_renamed.py",
    "test_pages.py",
    "campaigns/",
    "test_demo.py",
    "rego/test_tree.py",
    "cli/test_explaining.py",
    "faults/",
    "pulling/",
)
HERE = Path(__file__).parent


def _turn(item: pytest.Item) -> int:
    """When an item's module is begun: the longest first, in the order given."""
    place = item.path.relative_to(HERE).as_posix()
    return next((n for n, start in enumerate(LONGEST) if place.startswith(start)), len(LONGEST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)  # stable


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not conformance.runs():
        terminalreporter.write_line(conformance.summary())
