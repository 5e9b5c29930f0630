"""An impact as SARIF 2.1.0, so that a code host shows each loosening at its rule."""

from __future__ import annotations

from typing import Any

from magistrate import __version__
from magistrate.cli import say
from magistrate.cli.impact_words import NOTHING, WHY_NOT

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
BASE = "REGO"  # the folder the bundle is built from: whoever uploads this says where it lies


def log(said: dict[str, Any]) -> dict[str, Any]:
    """The log: a rule for each cause, a result for each of its directions."""
    causes = [*said["rules"], *map(_blind, said["unseen"])]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "magistrate policy diff",
                        "version": __version__,
                        "rules": [_rule(row) for row in causes],
                    }
                },
                "originalUriBaseIds": {BASE: {"uri": "rego/"}},
                "results": [
                    _result(said, number, row, way)
                    for number, row in enumerate(causes)
                    for way in ("loosened", "tightened")
                    if row[way]
                ],
                "invocations": [_invocation(said)],
                "properties": {
                    "was": said["was"],
                    "now": said["now"],
                    "questions": said["questions"],
                    "uncovered": said["uncovered"],
                    "unread": said["unread"],
                },
            }
        ],
    }


def _invocation(said: dict[str, Any]) -> dict[str, Any]:
    """Whether everything on record was compared; what was not is an error of its own."""
    text = f"{said['unread']} entries or questions were not compared: {WHY_NOT}"
    why = text if said["unread"] else NOTHING
    told = [{"level": "error", "message": {"text": why}}] if said["unread"] or not said["questions"] else []
    return {"executionSuccessful": not told, "toolExecutionNotifications": told}


def _blind(row: dict[str, Any]) -> dict[str, Any]:
    """What no recorded answer can show, as a cause of its own: one loosening, for all that is known."""
    title = "Changed, and no recorded answer can show what it does"
    text = (
        f"no recorded answer can show what this does; {row['name']} {row['was'] or '(none)'} → {row['now'] or '(none)'}"
    )
    cause = {"code": row["name"], "title": title, "text": text, "was_at": "", "now_at": "", "names": []}
    return {**cause, "uncovered": int(not row["accepted"]), "loosened": 1, "tightened": 0}


def _rule(row: dict[str, Any]) -> dict[str, Any]:
    title = say.visible(row["title"]) or "Data of the bundle that changed"
    return {"id": row["code"], "shortDescription": {"text": title}}


def _result(said: dict[str, Any], number: int, row: dict[str, Any], way: str) -> dict[str, Any]:
    level = "error" if way == "loosened" and row["uncovered"] else "note"
    changed = [one for one in said["data"] if one["name"] in row["names"]]
    because = "".join(f"; {one['name']} {one['was']} → {one['now']}" for one in changed)
    examples = [one for one in said["examples"] if row["code"] in one["because"] and one["direction"] == way]
    shown = ", ".join(one["intent_id"] or f"entry {one['entry']}" for one in examples)
    counted = f"{row[way]} recorded answers {way}{because}" + (f" (for example {shown})" if shown else "")
    text = row.get("text", counted)
    return {
        "ruleId": row["code"],
        "ruleIndex": number,
        "level": level,
        "message": {"text": say.visible(text)},
        "locations": [_location(row)],
        "partialFingerprints": {"magistrate/v1": f"{row['code']}/{way}"},
        "properties": {"direction": way, "count": row[way], "accepted": not row["uncovered"]},
    }


def _location(row: dict[str, Any]) -> dict[str, Any]:
    file, _, line = (row["now_at"] or row["was_at"] or _data_file(row["code"])).rpartition(":")
    region = {"startLine": max(1, int(line))}
    return {"physicalLocation": {"artifactLocation": {"uri": file, "uriBaseId": BASE}, "region": region}}


def _data_file(name: str) -> str:
    """Where an author keeps the data of this name."""
    parts = name.split(".")
    depth = 2 if parts[0] in ("policies", "magistrate") and len(parts) > 1 else 1
    return "/".join(parts[:depth]) + "/data.json:1"
