"""What of a bundle is more than policy: the engine's own Rego, and what the catalogue's rows run."""

from __future__ import annotations

from typing import Any

from magistrate.core.values import thaw
from magistrate.policy.bundle import Bundle
from magistrate.policy.report import ENGINE, TEMPLATES


def changes(old: Bundle, new: Bundle) -> dict[str, Any]:
    """What else than policies differs: files of the engine, and actions and targets whose rows do other things."""
    before, after = _templates(old), _templates(new)
    there, here = (thaw(each.data.get("catalogue", {}).get("targets", {})) for each in (old, new))
    files = sorted(name for name in {*_engine(old), *_engine(new)} if old.files.get(name) != new.files.get(name))
    if thaw(old.data.get("magistrate", {})) != thaw(new.data.get("magistrate", {})):
        files.append(ENGINE + "data.json")
    return {
        "engine": files,
        "actions": sorted(name for name in {*before, *after} if before.get(name) != after.get(name)),
        "targets": sorted(name for name in {*there, *here} if there.get(name) != here.get(name)),
    }


def _engine(bundle: Bundle) -> list[str]:
    return [name for name in bundle.files if name.startswith(ENGINE)]


def _templates(bundle: Bundle) -> dict[str, Any]:
    rows = bundle.data.get("catalogue", {}).get("actions", {})
    return {action: {part: thaw(row[part]) for part in TEMPLATES if part in row} for action, row in rows.items()}
