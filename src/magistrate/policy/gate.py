"""The gate before the archive: OPA's strict check with pure capabilities, then the vocabulary."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
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
        _check_strictly(binary, bundle, Path(scratch))
    vocabulary.check(trees(binary, bundle), bundle.data)


def trees(binary: Binary, bundle: Bundle) -> dict[str, Any]:
    """The syntax tree of every Rego file in a bundle, with places, by the file's name there.

    Raises:
        Malformed: `gate.compile`, one of them does not parse.
    """
    names = {name: name.removeprefix("/") for name in bundle.files if name.endswith(".rego")}
    with tempfile.TemporaryDirectory(prefix="magistrate-trees-") as scratch:
        for name, path in names.items():
            file = Path(scratch) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bundle.files[name])
        return dict(zip(names, parsed(binary, Path(scratch), names.values()), strict=True))


def parsed(binary: Binary, folder: Path, names: Iterable[str]) -> list[Any]:
    """The syntax trees of these files of a folder, in order.

    Raises:
        Malformed: `gate.compile`, one of them does not parse.
    """

    def parse(name: str) -> Any:
        ran = run(binary, "parse", "--format", "json", "--json-include", "locations,-comments", name, cwd=folder)
        if ran.returncode != 0:
            raise refusal(ran.stderr or ran.stdout)
        return json.loads(ran.stdout)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(parse, names))


def refusal(said: bytes) -> Malformed:
    """OPA's complaint as our error, in its own words: `file:line: code: what`, a line each."""
    text = _words(said.decode("utf-8", "replace").strip())
    undefined = re.search(r"undefined function ((?!data\.)\S+)", text)
    if undefined:
        hint = "its answer could differ in a replay, or OPA has no such builtin; time and facts are in the input"
        return Malformed("gate.builtin", f"a policy may not call {undefined[1]}: {text}", hint=hint)
    return Malformed("gate.compile", text or "OPA refuses the bundle")


def _words(text: str) -> str:
    """What OPA says as text; where it was asked for JSON, that is told as it tells the same otherwise."""
    try:
        return "\n".join(map(_line, json.loads(text)["errors"]))
    except (ValueError, KeyError, TypeError):
        return text


def _line(error: Mapping[str, Any]) -> str:
    at = error.get("location") or {}
    where = f"{at['file']}:{at['row']}: " if at.get("file") else ""
    return where + ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))


def _check_strictly(binary: Binary, bundle: Bundle, folder: Path) -> None:
    (folder / "bundle.tar.gz").write_bytes(bundle.raw)
    (folder / "capabilities.json").write_text(capabilities.text(binary), "utf-8")
    ran = run(
        binary, "check", "--strict", "--capabilities", "capabilities.json", "--bundle", "bundle.tar.gz", cwd=folder
    )
    if ran.returncode != 0:
        raise refusal(ran.stderr or ran.stdout)
