"""What to run next where an error does not say it itself: by its code, else by the family of its code."""

from __future__ import annotations

from typing import Final

DOCTOR: Final = "magistrate doctor"  # what this machine, its keys, its OPA or its disk may lack

BY_FAMILY: Final = {
    "administration": "magistrate intent ls",
    "admission": "magistrate warrant ls",
    "agent": "magistrate agents ls",
    "alert": "magistrate alerts ls",
    "approval": "magistrate approvals ls",
    "bench": DOCTOR,
    "bundle": "magistrate policy ls",
    "certificate": "magistrate replay --help",
    "checkpoint": "magistrate ledger verify",
    "clock": "chronyc tracking",
    "counter": "magistrate intent ls",
    "credential": "magistrate config show",
    "decision": "magistrate ledger verify",
    "demo": DOCTOR,
    "entry": "magistrate ledger verify",
    "events": "magistrate status",
    "execution": "magistrate execution ls",
    "executor": "magistrate config show",
    "explain": "magistrate intent ls",
    "facts": "magistrate status",
    "gate": "magistrate policy check rego",
    "idempotency": "magistrate intent ls",
    "impact": "magistrate policy ls",
    "input": "magistrate --help",
    "intent": "magistrate intent ls",
    "keeper": DOCTOR,
    "kek": DOCTOR,
    "key": DOCTOR,
    "ledger": "magistrate ledger verify",
    "new": "magistrate policy new --help",
    "observation": "magistrate execution ls",
    "opa": "magistrate opa which",
    "operator": "magistrate operators ls",
    "pin": "magistrate keys pin --help",
    "policy": "magistrate policy ls",
    "profile": "magistrate operators join --help",
    "promotion": "magistrate ledger verify",
    "proof": "magistrate ledger verify",
    "recovery": "magistrate ledger recover --help",
    "redeem": "magistrate warrant ls",
    "replay": "magistrate replay --help",
    "revocation": "magistrate ledger verify",
    "secret": "magistrate config show",
    "serve": "magistrate config show",
    "service": "magistrate status",
    "setup": "magistrate operators setup --help",
    "signature": DOCTOR,
    "start": "magistrate config show",
    "state": "magistrate ledger rebuild --check",
    "statement": "magistrate approvals ls",
    "store": DOCTOR,
    "table": "magistrate policy test",
    "verification": "magistrate execution ls",
    "wait": "magistrate status",
    "warrant": "magistrate warrant ls",
    "witness": DOCTOR,
}
BY_CODE: Final = {
    "bundle.changed": "magistrate ledger verify",
    "bundle.lost": "magistrate ledger verify",
    "ledger.sound": "magistrate status",
    "ledger.mark_unwritable": DOCTOR,
    "opa.timeout": "magistrate status",
    "signature.key_id": "magistrate keys pin --help",
    "signature.wrong": "magistrate keys pin --help",
}


def of(code: str) -> str:
    """A command that can be run, whatever the code."""
    return BY_CODE.get(code) or BY_FAMILY.get(code.partition(".")[0], DOCTOR)
