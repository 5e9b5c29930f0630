"""OPA's builtins minus those whose answer could differ in a replay: another day, machine or time zone."""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from magistrate.core.errors import Unavailable
from magistrate.policy.binary import Binary
from magistrate.policy.command import run

# Marked nondeterministic because a schema may name a remote `$ref`; catalogue schemas may not, and the gate sees to it
# that only the engine's own Rego calls it.
ENGINE_ONLY: Final = "json.match_schema"
READ_THE_CLOCK: Final = frozenset(
    {"crypto.x509.parse_and_verify_certificates", "crypto.x509.parse_and_verify_certificates_with_options"}
)
READ_THE_ZONE: Final = frozenset(
    {"time.clock", "time.date", "time.weekday", "time.add_date", "time.diff", "time.format", "time.parse_ns"}
)


@functools.cache
def text(binary: Binary) -> str:
    """The capabilities file's content, one builtin a line, so that what a new OPA adds shows in review.

    Raises:
        Unavailable: `opa.start`, this OPA does not tell.
    """
    ran = run(binary, "capabilities", "--current")
    if ran.returncode != 0:
        raise Unavailable("opa.start", "`opa capabilities` failed: " + ran.stderr.decode("utf-8", "replace"))
    current: dict[str, Any] = json.loads(ran.stdout)
    pure = [builtin for builtin in current.pop("builtins") if not dropped(builtin)]
    current["allow_net"] = []
    lines = ",\n".join("    " + json.dumps(builtin, sort_keys=True) for builtin in pure)
    rest = "".join(f",\n  {json.dumps(key)}: {json.dumps(current[key], sort_keys=True)}" for key in sorted(current))
    return f'{{\n  "builtins": [\n{lines}\n  ]{rest}\n}}\n'


def dropped(builtin: dict[str, Any]) -> bool:
    """Whether a policy may not call it."""
    name = builtin["name"]
    if name == ENGINE_ONLY:
        return False
    return bool(builtin.get("nondeterministic")) or name in READ_THE_CLOCK or name in READ_THE_ZONE
