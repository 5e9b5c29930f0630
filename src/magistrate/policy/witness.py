"""A second engine as a witness: the same bundle compiled to WebAssembly, asked the same question in this process.

It decides nothing. That both give the same bytes is evidence that an answer is the Rego's and not one program's; that
they do not is a finding, and so is a question the witness cannot be asked, for want of a builtin or of the extra.

Of OPA's builtins WebAssembly leaves some to the host. Those that our own Rego calls are supplied here: the schema check
says only that parameters fit, since the words of OPA's complaints are OPA's own; a text is split as Python splits it.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from magistrate.core import canonical
from magistrate.core.errors import Broken, Unavailable
from magistrate.core.values import thaw
from magistrate.policy import gate
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.client import DOCUMENTS
from magistrate.policy.command import run

SECONDS: Final = 10.0
PAGES: Final = 4096  # of 64 KiB: what one question may take
FIRST_PAGES: Final = 4  # our policies' code alone fills more than the two that the library begins with
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Witness:
    """One bundle, compiled once. Let it go with `close`, or use it in a `with`."""

    def __init__(self, binary: Binary, bundle: Bundle) -> None:
        """Compile the bundle.

        Raises:
            Unavailable: `witness.missing`, the extra is not installed; `witness.build`, what was built does not run.
            Malformed: `gate.compile`, OPA does not compile it so.
        """
        try:
            from opapywasm import OpaWasmError, OpaWasmPolicy, PolicyConfig, runtime
        except ImportError:
            hint = "pip install 'magistrate[witness]'"
            raise Unavailable("witness.missing", "the extra `witness` is not installed", hint=hint) from None
        self.bundle = bundle.digest
        self._error = OpaWasmError
        code, data = _compiled(binary, bundle)
        # no setting of the library says so, and it retries with more only where the code itself overflows
        runtime._DEFAULT_MEMORY_PAGES = FIRST_PAGES  # noqa: SLF001
        config = PolicyConfig(pool_size=1, eval_timeout_seconds=SECONDS, max_memory_pages=PAGES)
        try:
            self._policy = OpaWasmPolicy.from_wasm_bytes(code, config)
            self._policy.set_data(data)
        except OpaWasmError as error:
            raise Unavailable("witness.build", f"the compiled bundle does not run: {error}") from None
        for name, builtin in _BUILTINS.items():
            self._policy.register_builtin(name, builtin)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let its memory go."""
        self._policy.close()

    def agrees(self, document: str, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Return if the witness gives this answer, byte for byte.

        Raises:
            Broken: `witness.disagrees`, it gives another, or none.
            Unavailable: `witness.unable`, it cannot be asked; that is no agreement.
        """
        from opapywasm import UNDEFINED

        try:
            said = self._policy.evaluate(json.dumps(thaw(question)), entrypoint=f"magistrate/{document}")
        except self._error as error:
            raise Unavailable("witness.unable", f"the witness cannot answer this question: {error}") from None
        if said is UNDEFINED or canonical.canonical(said) != canonical.canonical(thaw(answer)):
            raise Broken("witness.disagrees", f"the witness gives another answer of data.magistrate.{document}")


def agrees(
    binary: Binary, bundle: Bundle, document: str, question: Mapping[str, Any], answer: Mapping[str, Any]
) -> None:
    """As `Witness.agrees`, for one question.

    Raises:
        as `Witness` and `Witness.agrees`.
    """
    with Witness(binary, bundle) as witness:
        witness.agrees(document, question, answer)


def _compiled(binary: Binary, bundle: Bundle) -> tuple[bytes, Any]:
    """The bundle's rules as WebAssembly, and its data."""
    entrypoints = [word for document in DOCUMENTS for word in ("--entrypoint", f"magistrate/{document}")]
    with tempfile.TemporaryDirectory(prefix="magistrate-witness-") as scratch:
        (Path(scratch) / "bundle.tar.gz").write_bytes(bundle.raw)
        made = ("build", "--target", "wasm", *entrypoints, "--bundle", "bundle.tar.gz", "--output", "wasm.tar.gz")
        ran = run(binary, *made, cwd=Path(scratch))
        if ran.returncode != 0:
            raise gate.refusal(ran.stderr or ran.stdout)
        raw = (Path(scratch) / "wasm.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        files = {member.name.lstrip("/"): tar.extractfile(member) for member in tar if member.isfile()}
        read = {name: file.read() for name, file in files.items() if file is not None}
    return read["policy.wasm"], json.loads(read["data.json"])


# -- what the host supplies


def _match_schema(document: Any, schema: Any) -> Any:
    """[true, []] where the document fits.

    Raises:
        ValueError: it does not; how OPA would say so is not known here.
    """
    from jsonschema import Draft7Validator

    if not Draft7Validator(schema).is_valid(document):
        raise ValueError("the parameters do not fit, and the words for that are OPA's own")
    return [True, []]


def _parse_rfc3339_ns(text: str) -> int:
    """Nanoseconds since 1970.

    Raises:
        ValueError: no time.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of RFC 3339")
    at = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    return int(at.timestamp()) * 10**9 + int((found[2] or "").ljust(9, "0"))


def _split(pattern: str, text: str) -> list[str]:
    return re.split(pattern, text)


_BUILTINS: Final[dict[str, Callable[..., Any]]] = {
    "json.match_schema": _match_schema,
    "time.parse_rfc3339_ns": _parse_rfc3339_ns,
    "regex.split": _split,
}
