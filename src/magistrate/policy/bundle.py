"""A bundle: a built set of Rego and data, named by the SHA-256 of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.core.question import CONTRACT
from magistrate.core.values import freeze
from magistrate.policy import tarball

CONTRACTS: Final = frozenset({CONTRACT})  # the question and answer shapes this version can write and read
ROOTS: Final = frozenset({"magistrate", "policies", "catalogue", "tiers", "counters", "canaries"})
MANIFEST: Final = "/.manifest"
DATA: Final = "/data.json"
MAX_JSON: Final = 2 * 1024 * 1024  # of data.json: fifty times the demo's


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read strictly; only the archive's `take` says that its rules may be asked."""

    digest: str
    sequence: int
    contract: int
    data: Mapping[str, Any]
    path: Path | None  # None: not in an archive
    raw: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def read(cls, raw: bytes, path: Path | None = None) -> Bundle:
        """Return the bundle these bytes are.

        Raises:
            Malformed: a code under `bundle.` says what no bundle of ours holds.
        """
        files = tarball.unpack(raw)
        for name in files:
            if name not in (MANIFEST, DATA) and (not name.endswith(".rego") or name.endswith("_test.rego")):
                detail = f"{name} does not belong into a bundle: it holds .rego, data.json and .manifest, and no tests"
                raise Malformed("bundle.file", detail, hint="magistrate policy build rego")
        sequence, contract = _manifest(_json(files, MANIFEST))
        data = _json(files, DATA) if DATA in files else {}
        if foreign := sorted(data.keys() - ROOTS):
            raise Malformed("bundle.roots", f"data outside the roots of a bundle: {', '.join(foreign)}")
        return cls(
            digest=canonical.digest(raw),
            sequence=sequence,
            contract=contract,
            data=freeze(data),
            path=path,
            raw=raw,
            files=MappingProxyType(files),
        )


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    if name not in files:
        raise Malformed("bundle.manifest", f"the bundle has no {name}")
    if len(files[name]) > MAX_JSON:
        raise Malformed("bundle.too_large", f"{name} is {len(files[name])} bytes, where at most {MAX_JSON} are read")
    try:
        value = canonical.load(files[name], limit=MAX_JSON, depth=canonical.MAX_DEPTH_RECORD)
    except Malformed as error:
        raise Malformed("bundle.json", f"{name}: {error.detail}", pointer=error.pointer) from None
    if not isinstance(value, dict):
        raise Malformed("bundle.json", f"{name} is not an object")
    return value


def _manifest(manifest: Mapping[str, Any]) -> tuple[int, int]:
    """The sequence and the contract of a bundle.

    Raises:
        Malformed: `bundle.manifest`, `bundle.roots`, `bundle.contract`, `bundle.sequence` or `bundle.revision`.
    """
    if manifest.keys() != {"revision", "roots", "rego_version", "metadata"}:
        raise Malformed("bundle.manifest", ".manifest holds exactly roots, rego_version, revision and metadata")
    _check_roots(manifest["roots"])
    if not _is(manifest["rego_version"], 1):
        raise Malformed("bundle.manifest", "rego_version is 1")
    metadata = manifest["metadata"]
    if not isinstance(metadata, dict) or metadata.keys() != {"contract", "sequence"}:
        raise Malformed("bundle.manifest", "metadata holds exactly contract and sequence")
    contract, sequence = metadata["contract"], metadata["sequence"]
    if not any(_is(contract, known) for known in CONTRACTS):
        known = ", ".join(map(str, sorted(CONTRACTS)))
        raise Malformed("bundle.contract", f"contract {contract!r} is not one this version speaks ({known})")
    if isinstance(sequence, bool) or not isinstance(sequence, int) or sequence < 1:
        raise Malformed("bundle.sequence", f"sequence {sequence!r} is not an integer of at least 1")
    if manifest["revision"] != str(sequence):
        raise Malformed("bundle.revision", f"revision {manifest['revision']!r} is not the sequence, {sequence}")
    return sequence, contract


def _check_roots(roots: Any) -> None:
    """Roots are explicit and ours: a bundle that owns "" or `system` erases the rule that guards OPA."""
    named = isinstance(roots, list) and all(isinstance(root, str) for root in roots)
    if not named or not roots or any(root.split("/")[0] not in ROOTS for root in roots):
        raise Malformed("bundle.roots", f"roots {roots!r} are not a list from {', '.join(sorted(ROOTS))}")


def _is(value: Any, number: int) -> bool:
    """Equal as an integer: `true` is not 1."""
    return type(value) is int and value == number
