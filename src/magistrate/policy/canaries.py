"""Canaries: named questions a bundle carries, with the outcome they must get. A bundle that fails its own is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.core.values import Document, thaw
from magistrate.policy.bundle import Bundle
from magistrate.policy.client import DOCUMENTS
from magistrate.policy.sidecar import Sidecar

# What is no answer at all, as opposed to an answer that cannot be used: three of these in a row disarm, not one.
SILENCE: Final = frozenset({"opa.refused", "opa.stale_socket", "opa.timeout", "opa.cut_short"})
_SHORT: Final = {"outcome": ("standing", "outcome"), "tier": ("terms", "tier")}  # of a decision, as canaries name them


async def failures(sidecar: Sidecar, bundle: Bundle, models: Mapping[str, type[Document]] | None = None) -> list[str]:
    """Ask every canary and return what went wrong, in words; none is an armed gate.

    Raises:
        NoAnswer: OPA was silent; nothing is known of the bundle.
    """
    canaries = bundle.data.get("canaries", {})
    if not isinstance(canaries, Mapping) or not canaries:
        return ["the bundle carries no canaries"]
    wrong = []
    for name, canary in sorted(canaries.items()):
        try:
            because = await _wrong(sidecar, canary, models or {})
        except NoAnswer as error:
            if error.code in SILENCE:
                raise
            because = str(error)
        if because:
            wrong.append(f"{name}: {because}")
    return wrong


async def _wrong(sidecar: Sidecar, canary: Any, models: Mapping[str, type[Document]]) -> str:
    """What is wrong about one canary's answer, "" for nothing."""
    if not isinstance(canary, Mapping) or canary.keys() != {"document", "question", "expect"}:
        return "a canary holds document, question and expect"
    document, expected = canary["document"], canary["expect"]
    if document not in DOCUMENTS or not isinstance(expected, Mapping) or not expected:
        return "a canary names one of the documents and expects something"
    question = canonical.canonical(thaw(canary["question"]))
    model = models.get(document)
    answer = await (
        sidecar.ask(document, question, apart=True)
        if model is None
        else sidecar.ask(document, question, model, apart=True)
    )
    return _differs(expected, answer.value, "", decision=document == "decision")


def _differs(expected: Any, found: Any, pointer: str, *, decision: bool = False) -> str:
    """Where the answer is not what was expected: objects may hold more, everything else is equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            steps = _SHORT[key] if decision and key in _SHORT and key not in found else (key,)
            here, there = found, pointer
            for step in steps:
                there = canonical.pointer_to(there, step)
                if not isinstance(here, Mapping) or step not in here:
                    return f"the answer holds no {there}"
                here = here[step]
            if because := _differs(value, here, there):
                return because
        return ""
    if canonical.canonical(thaw(expected)) != canonical.canonical(found):
        return f"{pointer or '/'} is {found!r}, not {thaw(expected)!r}"
    return ""
