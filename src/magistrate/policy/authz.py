"""The rule that stands before OPA: POST on the five documents, strict and with provenance; health; nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from magistrate.policy.client import DOCUMENTS

NAME: Final = "authz"  # the folder, and so the bundle's name in provenance
PATHS: Final = tuple(f"magistrate/{document}" for document in DOCUMENTS)  # below /v1/data/

# Exact paths and exact parameters: `explain=full` on an allowed path would dump the whole trace.
_RULE: Final = """package system.authz

default allow := false

allow if {{
	input.method == "POST"
	input.path in {paths}
	input.params == {{"strict-builtin-errors": ["true"], "provenance": ["true"]}}
	_known
}}

allow if {{
	input.method == "GET"
	input.path == ["health"]
	input.params == {{}}
	_known
}}

_known if crypto.sha256(input.identity) == data.magistrate_authz.token
"""


def write(folder: Path, token: str, revision: str, paths_: Sequence[str] = PATHS) -> None:
    """Write the authz bundle: its own roots, and of the token only the hash. Only these paths may be asked."""
    paths = [["v1", "data", *path.split("/")] for path in paths_]
    rule = _RULE.format(paths="{" + ", ".join(json.dumps(path) for path in paths) + "}")
    data = {"magistrate_authz": {"token": hashlib.sha256(token.encode()).hexdigest()}}
    manifest = {"roots": ["system/authz", "magistrate_authz"], "rego_version": 1, "revision": revision}
    home = folder / NAME
    home.mkdir(mode=0o700)
    (home / "authz.rego").write_text(rule, "utf-8")
    (home / "data.json").write_text(json.dumps(data), "utf-8")
    (home / ".manifest").write_text(json.dumps(manifest), "utf-8")
