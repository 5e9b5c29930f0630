"""Every way a thing can move, one table each; what is not listed is an error (contracts section 2)."""

from __future__ import annotations

from magistrate.core.errors import Conflict

INTENT = {
    "proposed": {"waiting", "warranted", "denied"},
    "waiting": {"waiting", "warranted", "denied", "expired", "cancelled"},
}
WARRANT = {
    "live": {"spent", "expired", "revoked"},
    "spent": {"expired", "revoked"},
}
EXECUTION = {
    "started": {"succeeded", "failed", "halting", "unknown"},
    "halting": {"halted", "unknown"},
    "unknown": {"reconciled"},
}
ROLLBACK = {
    "none": {"running"},
    "running": {"done", "failed", "unknown"},
}
VERIFICATION = {
    "pending": {"conforming", "deviating", "inconclusive"},
    "inconclusive": {"conforming", "deviating", "inconclusive"},  # conforming only while provisional: see `verdict`
    "conforming": {"deviating", "conforming"},
}
BUNDLE = {
    "archived": {"active"},
    "active": {"retired"},
    "retired": {"active"},  # by `policy recover` alone: a promotion never goes back
}
TABLES = {
    "bundle": BUNDLE,
    "intent": INTENT,
    "warrant": WARRANT,
    "execution": EXECUTION,
    "rollback": ROLLBACK,
    "verification": VERIFICATION,
}
ROLLBACK_FROM = {"failed", "halted", "succeeded"}  # succeeded only once deviating


def advance(object_: str, state: str, to: str) -> str:
    """Return `to` if the object may move there from `state`.

    Raises:
        Conflict: no such move.
    """
    if to not in TABLES[object_].get(state, ()):
        raise Conflict(f"{object_}.state", f"{object_} is {state}: it cannot become {to}")
    return to


def advance_verdict(state: str, to: str, *, provisional: bool) -> str:
    """The next verdict: a later one may turn conforming into deviating, never back; deviating is final.

    Raises:
        Conflict: no such move.
    """
    if state == "inconclusive" and to == "conforming" and not provisional:
        raise Conflict("verification.state", "an inconclusive verdict became final: it cannot become conforming")
    return advance("verification", state, to)


def ended(object_: str, state: str) -> bool:
    """Whether nothing follows this state."""
    return not TABLES[object_].get(state)
