"""What `doctor` looks at: one check each, and the command that mends what it finds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magistrate.cli import places
from magistrate.cli.service import find_opa
from magistrate.core.errors import MagistrateError, Unavailable
from magistrate.engine.examination import LEDGER, rebuilt
from magistrate.engine.opening import judge_mark, probe_keys
from magistrate.store.connect import library

CLOCK_SECONDS = 5.0


def checks(data: Path) -> list[dict[str, Any]]:
    """Every check, in the order in which one would mend."""
    found = [
        _check("python", _python),
        _check("sqlite", library),
        _check("opa", _opa),
        _check("clock", _clock),
    ]
    if not (data / LEDGER).exists():
        found.append(_told("data", f"nothing lies in {data} yet"))
        return found
    return [
        *found,
        _check("keys", lambda: probe_keys(data, places.state())),
        _check("mark", lambda: judge_mark(data, places.state())),
        _check("state", lambda: _state(data)),
        _check("service", lambda: _service(data)),
    ]


def _told(name: str, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": True, "detail": detail, "hint": ""}


def _check(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return _told(name, look())
    except MagistrateError as wrong:
        return {"name": name, "ok": False, "detail": wrong.detail, "hint": wrong.hint}


def _python() -> str:
    return sys.version.split()[0]


def _opa() -> str:
    found = find_opa()
    return f"OPA {found.version} sha256:{found.sha256} by {found.origin}"


def _clock() -> str:
    wall, boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep(0.2)
    drift = abs((time.time() - wall) - (time.clock_gettime(time.CLOCK_BOOTTIME) - boot))
    if drift > CLOCK_SECONDS:
        raise Unavailable("clock.jumped", f"the clock jumped by {drift:.0f} s", hint="chronyc tracking")
    return "wall time and the clock that counts sleep agree"


def _state(data: Path) -> str:
    differences = rebuilt(data / LEDGER)
    if differences:
        detail = f"{differences[0]} (and {len(differences) - 1} more)"
        raise Unavailable("state.differs", detail, hint="magistrate ledger verify")
    return "every state row is what the ledger says"


def _service(data: Path) -> str:
    from magistrate.client import Client

    url = places.service(data)
    with Client(url) as client:
        client.get("/readyz")
    return f"ready at {url}"
