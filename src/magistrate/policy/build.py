"""From a folder of Rego to a bundle: the same tree gives the same bytes, on every machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.policy.binary import Binary
from magistrate.policy.command import run

APART: Final = ("schemas", "capabilities.json")  # read by the gate and by authors, never loaded
IGNORED: Final = tuple(part for name in ("*_test.rego", *APART) for part in ("--ignore", name))


def build(binary: Binary, rego_folder: Path) -> bytes:
    """Return the bytes of the folder's bundle.

    Raises:
        Malformed: the folder's files, its manifest or its Rego are not those of a bundle; the code says which.
    """
    sequence = _sequence(rego_folder)
    with tempfile.TemporaryDirectory(prefix="magistrate-build-") as scratch:
        target = Path(scratch) / "bundle.tar.gz"
        # the path argument becomes part of every file's name: always `.`, always from within
        built = run(binary, "build", "-b", ".", *IGNORED, "-r", str(sequence), "-o", str(target), cwd=rego_folder)
        if built.returncode != 0:
            raise Malformed("gate.compile", built.stderr.decode("utf-8", "replace").strip())
        return target.read_bytes()


def _sequence(rego_folder: Path) -> int:
    """The number the author gave in `.manifest`; OPA's revision is made from it."""
    manifest = _manifest(rego_folder / ".manifest")
    metadata = manifest.get("metadata")
    sequence = metadata.get("sequence") if isinstance(metadata, dict) else None
    if type(sequence) is not int:
        raise Malformed("bundle.sequence", f"{rego_folder}/.manifest gives no sequence")
    return sequence


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = canonical.load(path.read_bytes())
    except FileNotFoundError:
        hint = json.dumps({"roots": ["policies"], "rego_version": 1, "metadata": {"contract": 1, "sequence": 1}})
        raise Malformed("bundle.manifest", f"there is no {path}", hint=f"it looks like this: {hint}") from None
    if not isinstance(manifest, dict):
        raise Malformed("bundle.manifest", f"{path} is not an object")
    return manifest
