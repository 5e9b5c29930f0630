"""The gate before the archive: OPA's strict check with pure capabilities, then the vocabulary."""

from __future__ import annotations

import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from magistrate.core.errors import Malformed
from magistrate.policy import capabilities, vocabulary
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.command import run


def check(binary: Binary, bundle: Bundle) -> None:
    """Return if the bundle may be taken in.

    Raises:
        Malformed: a code under `gate.`; `gate.compile` and `gate.builtin` carry OPA's own words.
    """
    with tempfile.TemporaryDirectory(prefix="magistrate-gate-") as scratch:
        folder = Path(scratch)
        _check_strictly(binary, bundle, folder)
        modules = _parsed(binary, bundle, folder / "files")
    vocabulary.check(modules, bundle.data)


def refusal(said: bytes) -> Malformed:
    """OPA's complaint as our error."""
    text = said.decode("utf-8", "replace").strip()
    undefined = re.search(r"undefined function ((?!data\.)\S+)", text)
    if undefined:
        hint = "its answer could differ in a replay, or OPA has no such builtin; time and facts are in the input"
        return Malformed("gate.builtin", f"a policy may not call {undefined[1]}: {text}", hint=hint)
    return Malformed("gate.compile", text or "OPA refuses the bundle")


def _check_strictly(binary: Binary, bundle: Bundle, folder: Path) -> None:
    (folder / "bundle.tar.gz").write_bytes(bundle.raw)
    (folder / "capabilities.json").write_text(capabilities.text(binary), "utf-8")
    ran = run(
        binary, "check", "--strict", "--capabilities", "capabilities.json", "--bundle", "bundle.tar.gz", cwd=folder
    )
    if ran.returncode != 0:
        raise refusal(ran.stderr or ran.stdout)


def _parsed(binary: Binary, bundle: Bundle, folder: Path) -> dict[str, Any]:
    """The syntax trees of the bundle's files, as this OPA reads them."""

    def parse(name: str) -> Any:
        path = folder / name.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bundle.files[name])
        ran = run(binary, "parse", "--format", "json", "--json-include", "locations,-comments", str(path))
        if ran.returncode != 0:
            raise refusal(ran.stderr or ran.stdout)
        return json.loads(ran.stdout)

    names = [name for name in bundle.files if name.endswith(".rego")]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(parse, names), strict=True))
