"""What is known of a bundle: from its bytes alone, and from the build that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.values import Count, Digest, Document, thaw
from magistrate.policy import capabilities
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

ENGINE: Final = "/magistrate/"
TEMPLATES: Final = ("executor", "halt", "rollback", "probes", "expect", "secrets", "secret_parameters", "targets")


class Opa(Document):
    """Which OPA: its version, and the SHA-256 of its file."""

    version: str
    sha256: Digest


class BundleFacts(Document):
    """What anyone can compute from a bundle's bytes and an OPA."""

    digest: Digest
    sequence: Count
    contract: Count
    engine: Digest  # the engine's own Rego and data: everything under /magistrate/
    catalogue: Digest  # all of the catalogue
    templates: Digest  # what of it says how an action is carried out, watched and taken back
    capabilities: Digest  # the builtins a policy may call
    opa: Opa


class Figures(Document):
    """Lines of the Rego that ships: how many some test evaluates, and how many there are."""

    covered: Count
    lines: Count


class BuildReport(Document):
    """What an author's build found; only a build that found nothing wrong has one."""

    bundle: BundleFacts
    tests: Count  # of Rego, all passed
    cases: Count  # rows of decision tables, all passed
    canaries: Count  # all answered as they must
    coverage: Figures


def facts_of(bundle: Bundle, binary: Binary) -> BundleFacts:
    """The facts of a bundle under this OPA.

    Raises:
        Unavailable: `opa.start`, the OPA does not tell its builtins.
    """
    catalogue = thaw(bundle.data.get("catalogue", {}))
    return BundleFacts(
        digest=bundle.digest,
        sequence=bundle.sequence,
        contract=bundle.contract,
        engine=engine_digest(bundle),
        catalogue=canonical.digest_of(catalogue),
        templates=canonical.digest_of(_templates(catalogue)),
        capabilities=canonical.digest(capabilities.text(binary).encode()),
        opa=Opa(version=binary.version, sha256=f"sha256:{binary.sha256}"),
    )


def engine_digest(bundle: Bundle) -> str:
    """One digest over the engine: each of its files by name and SHA-256, and its data (kinds, who may do what)."""
    files = {
        name: canonical.digest(raw)
        for name, raw in bundle.files.items()
        if name.startswith(ENGINE) and name.endswith(".rego")
    }
    return canonical.digest_of({"files": files, "data": thaw(bundle.data.get("magistrate", {}))})


def _templates(catalogue: Mapping[str, Any]) -> dict[str, Any]:
    """By action, the rows' parts that decide what runs."""
    actions = catalogue.get("actions", {})
    return {name: {part: row[part] for part in TEMPLATES if part in row} for name, row in actions.items()}
