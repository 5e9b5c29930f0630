"""The facts a question carries: who asks, how much was used, what time it is. No judgement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magistrate.core import promotion, question
from magistrate.core.errors import Absent, Conflict, Refused
from magistrate.core.pointer import find
from magistrate.engine.installation import Installation, Principal, Seen, every
from magistrate.store.rows import Row

TABLE_OF = {"agent": "agents", "operator": "operators", "observer": "watchers", "auditor": "watchers"}
DAY = 86_400
BUNDLE = "bundle"  # the type of subject that an act about a bundle has


def actor(house: Installation, seen: Seen | None, type_: str, id_: str, credential: str = "none") -> dict[str, Any]:
    """The facts about one person or program; `unknown` where nobody by that name is enrolled."""
    read = seen.row if seen else house.store.row
    row = read(TABLE_OF[type_], id_)
    if row is None:
        return question.actor(type_=type_, id_=id_, state="unknown", credential=credential)
    tally = read("tallies", f"{type_}/{id_}") if type_ in ("agent", "operator") else None
    return question.actor(
        type_=type_,
        id_=id_,
        state=row.state,
        roles=row.data.get("roles", ()),
        owner=row.data.get("owner", ""),
        credential=credential,
        open_intents=tally.data["waiting"] if tally else 0,
    )


def of_principal(house: Installation, seen: Seen | None, principal: Principal) -> dict[str, Any]:
    """The facts about the caller."""
    return actor(house, seen, principal.type, principal.id, principal.credential)


def installation(house: Installation, seen: Seen) -> dict[str, Any]:
    """How many operators were ever enrolled, and whether this is a demo."""
    people = seen.row("installation", "people")
    genesis = house.store.row("installation", "genesis")
    return {
        "operators": people.data["operators"] if people else 0,
        "demo": bool(genesis and genesis.data["demo"]),
    }


def counter_keys(counters: Mapping[str, Any], intent: Mapping[str, Any]) -> dict[str, str]:
    """For each counter of this action, whose amount it counts."""
    keys = {"agent": intent["proposer"]["id"], "target": intent["target"], "all": "all"}
    return {name: keys[row["by"]] for name, row in counters.items() if row["action"] == intent["action"]}


def turns(counters: Mapping[str, Any], intent: Mapping[str, Any]) -> list[str]:
    """The queues a step on this intent stands in: one for each counter it may move."""
    return [f"counters/{name}|{key}" for name, key in counter_keys(counters, intent).items()]


async def used(
    house: Installation, seen: Seen, counters: Mapping[str, Any], intent: Mapping[str, Any], now: int
) -> tuple[dict[str, int], list[str]]:
    """What each counter of this action holds in its window, and the counters that cannot know.

    Committed amounts and others' reservations count; this intent's own never does (it has none before its warrant).
    """
    facts: dict[str, int] = {}
    for name, key in counter_keys(counters, intent).items():
        head = f"{name}|{key}"
        seen.row("counters", head)
        window = counters[name]["window"]
        since = now - now % DAY if "utc_day" in window else now - int(window["seconds"])
        facts[name] = 0
        async for share in every(house, "counters", owner=head, due_from=since):
            facts[name] += share.data["amount"] * (share.data["open"] + share.data["committed"])
    return facts, []


def reserves(counters: Mapping[str, Any], intent: Mapping[str, Any], uses: int) -> list[dict[str, Any]]:
    """What issuing this warrant reserves of each counter: the amount of one use, times `uses`.

    Raises:
        Refused: a summed value is not an integer of at least 0.
    """
    shares = []
    for name, key in counter_keys(counters, intent).items():
        amount = 1 if "amount" not in counters[name] else find(intent, counters[name]["amount"])
        if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            raise Refused("counter.amount", f"what {name} sums is not a whole number of at least 0")
        shares.append({"counter": name, "key": key, "amount": amount, "uses": uses})
    return shares


def author(seen: Seen, active: Row, subject: Mapping[str, str]) -> str:
    """Whose policy the intent is about: the author of the bundle it would put in force, else of the one in force."""
    row = seen.row("bundles", subject["id"]) if subject["type"] == BUNDLE else None
    return str((row or active).data["author"])


def hold_newer(seen: Seen, active: Row, subject: Mapping[str, str]) -> None:
    """Return unless the intent is about a bundle that could not come into force whoever signs.

    Raises:
        Absent: `bundle.unknown`. Conflict: `bundle.active`, `bundle.older`.
    """
    if subject["type"] == BUNDLE:
        row = seen.row("bundles", subject["id"])
        if row is None:
            raise Absent("bundle.unknown", f"no bundle {subject['id']} is on record", hint="magistrate policy ls")
        if subject["id"] == active.data["bundle"]:
            detail = f"{subject['id']} is in force already: there is nothing to do"
            raise Conflict("bundle.active", detail, hint="magistrate policy ls")
        promotion.hold_newer(subject["id"], row.data["sequence"], active.data["highest"])
