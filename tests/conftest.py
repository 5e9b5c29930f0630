"""What every test shares. Keep it small: helpers live in tests/support."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support import conformance

settings.register_profile("steady", deadline=None, print_blob=True)  # a busy machine is no failure
settings.load_profile("steady")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not conformance.runs():
        terminalreporter.write_line(conformance.summary())
