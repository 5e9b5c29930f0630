"""From a folder of Rego to a bundle: the same tree gives the same bytes, on every machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.policy import gate, source
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle


def build(binary: Binary, rego_folder: Path) -> bytes:
    """Return the bytes of the folder's bundle, which has passed the gate.

    Raises:
        Malformed: the folder's files, its manifest or its Rego are not those of a bundle; the code says which.
    """
    _check_files(rego_folder)
    sequence = _sequence(rego_folder / ".manifest")
    with tempfile.TemporaryDirectory(prefix="magistrate-build-") as scratch:
        target = Path(scratch) / "bundle.tar.gz"
        with_types = _types(rego_folder)
        # the path argument becomes part of every file's name: always `.`, always from within
        whole = ("--bundle", ".", *source.SHIPPED_ONLY)
        made = ("build", *whole, "--revision", str(sequence), "--output", str(target))
        for verb, *arguments in (("check", "--strict", *whole, *with_types), made):
            ran = source.run_purely(binary, rego_folder, verb, *arguments)
            if ran.returncode != 0:
                raise gate.refusal(ran.stderr or ran.stdout)
        raw = target.read_bytes()
    gate.check(binary, Bundle.read(raw))
    return raw


def _types(rego_folder: Path) -> tuple[str, ...]:
    """How OPA is told what a question may hold: for every rule alike, unless the author's own annotations say which."""
    if not (rego_folder / source.TYPES).is_file():
        return ()
    annotated = any(b"# schemas:" in path.read_bytes() for path in rego_folder.rglob("*.rego"))
    return ("--schema", source.SCHEMAS if annotated else source.TYPES)


def _check_files(rego_folder: Path) -> None:
    """OPA leaves out what it does not know, without a word; an author should hear of it."""
    for path in sorted(rego_folder.rglob("*")):
        name = path.relative_to(rego_folder)
        if name.parts[0] in source.APART:
            continue
        if path.is_symlink():
            raise Malformed("bundle.file", f"{name} is a link; a bundle holds regular files")
        known = path.suffix == ".rego" or path.name == "data.json" or str(name) == ".manifest" or source.is_table(name)
        if path.is_file() and not known:
            raise Malformed("bundle.file", f"{name} does not belong into a bundle", hint="move it out of the folder")


def _sequence(path: Path) -> int:
    """The number the author gave; OPA's revision is made from it."""
    try:
        manifest: Any = canonical.load(path.read_bytes())
    except FileNotFoundError:
        hint = '{"roots": ["magistrate", "policies", …], "rego_version": 1, "metadata": {"contract": 1, "sequence": 1}}'
        raise Malformed("bundle.manifest", f"there is no {path}", hint=hint) from None
    except Malformed as error:
        raise Malformed("bundle.manifest", f"{path}: {error.detail}") from None
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    sequence = metadata.get("sequence") if isinstance(metadata, dict) else None
    if type(sequence) is not int:
        hint = '"metadata": {"contract": 1, "sequence": 1}'
        raise Malformed("bundle.sequence", f"{path} gives no `metadata.sequence`", hint=hint)
    return sequence
