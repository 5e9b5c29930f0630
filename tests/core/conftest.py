"""Data of others is collected where it is (see tests/support/conformance.py)."""

from tests.support import conformance

collect_ignore = [] if conformance.runs() else ["test_conformance.py"]
