"""Responsibility: which rules, by their reason codes, and which changed data made an answer another one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.looseness import Answer
from magistrate.core.replay import Difference, differences

EVERY: Final = ""  # among rewritten policies: all of them, for the engine's own rules differ, or nobody knows
UNEXPLAINED: Final = "unexplained"  # nothing we can name differs; it can be accepted by this name
_APART: Final = ("/canaries/",)  # data no decision reads
_ACTIONS: Final = "/catalogue/actions/"
_SHARED: Final = ("/catalogue", "/magistrate")  # data that any policy's rule may read


@dataclass(frozen=True, slots=True)
class Changed:
    """One changed value of the bundles' data; its name is its path with dots, as it is accepted by."""

    name: str
    pointer: str
    was: str
    now: str


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """A reason code, or the name of changed data; `names` are those by which it can be accepted, as `taken` says."""

    code: str
    policy: str
    names: tuple[str, ...]


def changed_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Changed]:
    """What differs between the data of two bundles."""
    found = (row for row in differences(was, now) if not row.pointer.startswith(_APART))
    return [Changed(_name(row), row.pointer, row.recorded, row.now) for row in found]


def unseen(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Changed]:
    """What differs between two bundles and no recorded question can show, for the questions were made with it.

    A counter makes the figures of a question, and an action's `subject` says whom it is about. Whether such a change
    loosens is not known: it has to be accepted by name.
    """
    counters = [_part(side, "counters") for side in (was, now)]
    found = [
        _whole(("counters", name), *(side.get(name, ...) for side in counters))
        for name in sorted(counters[0].keys() | counters[1].keys())
    ]
    actions = [_part(_part(side, "catalogue"), "actions") for side in (was, now)]
    for name in sorted(actions[0].keys() & actions[1].keys()):
        for part in ("subject", "subject_type"):
            one, two = (_part(side, name).get(part, ...) for side in actions)
            found.append(_whole(("catalogue", "actions", name, part), one, two))
    return [row for row in found if row.was != row.now]


def causes(
    document: str,
    was: Answer,
    now: Answer,
    *,
    fields: Sequence[str],
    action: str,
    data: Sequence[Changed],
    rewritten: Collection[str] = (),
) -> list[Cause]:
    """Why an answer changed, as far as the answers tell; `fields` are the pointers to what changed in it.

    1. The rules that spoke before and are silent now: when something loosens, it is one of these that let go. 2. Else
    those that speak now and did not. 3. Else the changed data by which such a field is called, of what the answers are
    about if there is any, else all of it. 4. Else the changed data of what they are about. 5. Else nobody knows.

    The changed data of a policy may stand for its rules only where nothing else can have moved them: neither Rego (of
    the policies in `rewritten` it differs) nor data that every rule may read. Of the actions in the catalogue that is
    the row of the action the answers are about.
    """
    before, after = dict(_codes(document, was)), dict(_codes(document, now))
    spoke = {code: policy for code, policy in before.items() if code not in after}
    codes = spoke or {code: policy for code, policy in after.items() if code not in before}
    if codes:
        unsure = EVERY in rewritten or any(_shared(row, action) for row in data)
        return [
            Cause(code, policy, (code, *_standing_for(policy, [] if unsure or policy in rewritten else data)))
            for code, policy in sorted(codes.items())
        ]
    policies = set(before.values()) | set(after.values())
    near = [row for row in data if _near(row, document, (was, now), action, policies)]
    words = {field.rpartition("/")[2] for field in fields}
    for rows in ([row for row in near if _called(row, words)], [row for row in data if _called(row, words)], near):
        if rows:
            return [Cause(row.name, "", (row.name,)) for row in rows]
    return [Cause(UNEXPLAINED, "", (UNEXPLAINED,))]


def _shared(row: Changed, action: str) -> bool:
    """Whether any policy's rule may have read it, in an answer about this action."""
    if row.pointer.startswith(_ACTIONS):
        own = canonical.pointer_to(_ACTIONS.rstrip("/"), action)
        return row.pointer == own or row.pointer.startswith(own + "/")
    return row.pointer.startswith(_SHARED)


def covered(causes_: Collection[Cause], accepted: Collection[str]) -> bool:
    """Whether every cause was accepted."""
    return all(taken(cause.names, accepted) for cause in causes_)


def taken(names: Sequence[str], accepted: Collection[str]) -> bool:
    """Whether a cause of these names was accepted: by the first, or by all others, for which of them did it is open."""
    first, *others = names
    return first in accepted or (bool(others) and all(name in accepted for name in others))


def _name(row: Difference) -> str:
    return row.pointer.strip("/").replace("/", ".")


def _standing_for(policy: str, data: Sequence[Changed]) -> Iterator[str]:
    return (row.name for row in _of_policy(policy, data))


def _part(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def _whole(steps: Sequence[str], was: Any, now: Any) -> Changed:
    """A value as a whole, changed or not; one that is not there is ""."""
    one, two = ("" if value is ... else canonical.canonical(value).decode() for value in (was, now))
    return Changed(".".join(steps), "/" + "/".join(steps), one, two)


def _of_policy(policy: str, data: Sequence[Changed]) -> Iterator[Changed]:
    prefix = "/" + policy.replace(".", "/") + "/"
    return (row for row in data if policy and row.pointer.startswith(prefix))


def _called(row: Changed, words: set[str]) -> bool:
    return not words.isdisjoint(row.pointer.split("/"))


def _near(row: Changed, document: str, answers: tuple[Answer, Answer], action: str, policies: set[str]) -> bool:
    """Whether this data is about what the answers are about: their tiers, their policies, their action."""
    if document == "decision":
        tiers = {answer["terms"]["tier"] for answer in answers if answer is not None}
        if any(tier and row.pointer.startswith(f"/tiers/{tier}/") for tier in tiers):
            return True
    if action and row.pointer.startswith(f"/catalogue/actions/{action}/"):
        return True
    if row.pointer.startswith(("/catalogue/installation/", "/magistrate/", "/counters/")):
        return True
    return any(True for policy in policies for _ in _of_policy(policy, [row]))


def _codes(document: str, answer: Answer) -> Iterator[tuple[str, str]]:
    """The reason codes of an answer, each with the policy that spoke."""
    if answer is None:
        return
    match document:
        case "decision":
            rows = answer["standing"]["reasons"]
        case "approval":
            rows = answer["reasons"]
        case "admission":
            rows = answer["violations"]
        case "verification":
            rows = [*answer["reasons"], *answer["deviations"]]
        case _:
            rows = [answer["reason"]]
    for row in rows:
        if row["code"]:
            yield row["code"], row.get("policy", "")
