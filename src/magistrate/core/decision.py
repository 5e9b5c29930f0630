"""A decision: OPA's answer to an intent, in terms that stay and a standing that moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from magistrate.core.canonical import digest_of
from magistrate.core.errors import Broken, NoAnswer
from magistrate.core.values import Count, Document, Free, Name, Text

LONGEST: Final = 10 * 366 * 86_400  # seconds; whatever is permitted is over within ten years
MOST: Final = 100_000  # uses of one warrant, people for one place, attempts in one execution
_TIMES: Final = ("ttl", "heartbeat_seconds", "report_by_seconds", "rollback_seconds")
_RUNNING: Final = {"max_retries": MOST, "max_duration_seconds": LONGEST}  # constraints that the router itself keeps


class Reason(Document):
    """Why a rule spoke, from its METADATA."""

    code: Text
    title: Text
    remedy: Text
    policy: Text


class Wanted(Document):
    """An approval still missing."""

    roles: tuple[Name, ...]
    count: Count
    by: Name


class Row(Document):
    """`count` distinct operators with any of `roles`, proving themselves by `proof` or stronger."""

    roles: tuple[Name, ...]
    count: Count
    proof: Name


class Requirement(Document):
    """Whose approval an intent needs; none is `all_of: []`."""

    all_of: tuple[Row, ...]
    exclude: tuple[Literal["proposer", "owner", "author", "subject"], ...]
    wait_seconds: Count
    approval_seconds: Count


class Issue(Document):
    """The terms a warrant is made with."""

    ttl: Count
    uses: Count
    audience: Literal["router", "holder"]
    issuer: Name
    constraints: Free
    evidence: tuple[Name, ...]
    heartbeat_seconds: Count
    report_by_seconds: Count
    rollback_seconds: Count


class Terms(Document):
    """What was decided of this intent: the same bytes at every asking of a round."""

    tier: Name
    requirement: Requirement
    warrant: Issue


class Standing(Document):
    """Where the intent stands now."""

    outcome: Literal["allow", "ask", "deny"]
    reasons: tuple[Reason, ...]
    wanted: tuple[Wanted, ...]
    issue: Issue


class DecisionAnswer(Document):
    """The answer of `data.magistrate.decision`."""

    terms: Terms
    standing: Standing


def decision_document(*, intent_digest: str, bundle: str, round_: int, terms: dict[str, Any]) -> dict[str, Any]:
    """What `decision_digest` covers: the approver signs exactly this."""
    return {
        "type": "magistrate/decision/v1",
        "intent_digest": intent_digest,
        "bundle": bundle,
        "round": round_,
        "terms": terms,
    }


def decision_digest(*, intent_digest: str, bundle: str, round_: int, terms: dict[str, Any]) -> str:
    """The digest an approval names."""
    return digest_of(decision_document(intent_digest=intent_digest, bundle=bundle, round_=round_, terms=terms))


def hold_possible(answer: Mapping[str, Any]) -> None:
    """Return if these terms can be carried out: no time reaches beyond the calendar, no number beyond what is counted.

    Raises:
        NoAnswer: `decision.impossible`: nothing is permitted by it.
    """
    terms, standing = answer["terms"], answer["standing"]
    requirement = terms["requirement"]
    bounds = [(f"requirement.{name}", requirement[name], LONGEST) for name in ("wait_seconds", "approval_seconds")]
    bounds += [("requirement.all_of.count", row["count"], MOST) for row in requirement["all_of"]]
    for part, issue in (("terms.warrant", terms["warrant"]), ("standing.issue", standing["issue"])):
        bounds += [(f"{part}.{name}", issue[name], LONGEST) for name in _TIMES]
        bounds.append((f"{part}.uses", issue["uses"], MOST))
        known = ((name, most) for name, most in _RUNNING.items() if name in issue["constraints"])
        bounds += [(f"{part}.constraints.{name}", issue["constraints"][name], most) for name, most in known]
    for name, value, most in bounds:
        if type(value) is not int or not 0 <= value <= most:
            detail = f"{name} is {value!a}, where at most {most} can be carried out"
            raise NoAnswer("decision.impossible", f"the bundle's answer permits what nobody can do: {detail}"[:400])


def hold_narrow(issue: dict[str, Any], terms: dict[str, Any]) -> None:
    """Return if `issue` is no wider than `terms.warrant` in any field.

    1. ttl and uses may only shrink, and stay positive. 2. who runs it, who issues it and what evidence counts are
    equal. 3. every constraint of the terms stands, and none is looser: a number no larger, a list no longer, a
    demand that was made still made. A constraint that only narrowing brought is welcome.

    Raises:
        Broken: it is wider; says where.
    """
    for field in ("ttl", "uses"):
        if not 0 < issue[field] <= terms[field]:
            raise Broken("warrant.wider", f"{field} {issue[field]} is not within {terms[field]}", pointer=f"/{field}")
    for field in ("audience", "issuer", "evidence", "heartbeat_seconds", "report_by_seconds", "rollback_seconds"):
        if issue[field] != terms[field]:
            raise Broken("warrant.wider", f"{field} differs from the decision's terms", pointer=f"/{field}")
    for kind, bound in terms["constraints"].items():
        if kind not in issue["constraints"] or not within(issue["constraints"][kind], bound):
            raise Broken("warrant.wider", f"constraint {kind} is looser than decided", pointer=f"/constraints/{kind}")


def hold_requirement(requirement: dict[str, Any], approvers: Mapping[str, frozenset[str]]) -> None:
    """Return if these people, each with the roles they hold, can fill every row of the requirement at once.

    A person fills one place of one row (augmenting paths; the rows and people of one approval are few).

    Raises:
        Broken: a place stays empty.
    """
    places = [frozenset(row["roles"]) for row in requirement["all_of"] for _ in range(row["count"])]
    filled: dict[str, int] = {}

    def place(number: int, tried: set[str]) -> bool:
        for person, roles in approvers.items():
            if person in tried or not roles & places[number]:
                continue
            tried.add(person)
            if person not in filled or place(filled[person], tried):
                filled[person] = number
                return True
        return False

    if not all(place(number, set()) for number in range(len(places))):
        raise Broken("warrant.approvals", "the approvals on record do not fill what the decision asked for")


def within(value: Any, bound: Any) -> bool:
    """Whether a constraint's value is no looser than another: no larger, no longer, still demanded."""
    if isinstance(bound, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(bound, bool) and (value or not bound)
    if isinstance(bound, int | float) and isinstance(value, int | float):
        return value <= bound
    if isinstance(bound, list) and isinstance(value, list):
        return all(item in bound for item in value)
    return bool(value == bound)
