"""Canaries: named questions a bundle carries, with the outcome they must get; a bundle that fails its own stays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer, Refused
from magistrate.core.values import Document, thaw
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar

# What is no answer at all, as opposed to an answer that cannot be used: three of these in a row disarm, not one.
SILENCE: Final = frozenset({"opa.refused", "opa.stale_socket", "opa.timeout", "opa.cut_short"})
_SHORT: Final = {"outcome": ("standing", "outcome"), "tier": ("terms", "tier")}  # of a decision, as canaries name them


class _Canary(Document):
    """One named question and what its answer must hold."""

    document: Literal["decision", "approval", "admission", "verification", "access"]
    question: dict[str, Any]
    expect: Annotated[dict[str, Any], Field(min_length=1)]


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


async def hold(sidecar: Sidecar, bundle: Bundle, models: Mapping[str, type[Document]]) -> None:
    """Return if a bundle's canaries are answered as they say.

    Raises:
        Refused: `bundle.canaries`, with what was answered.
        NoAnswer: OPA was silent.
    """
    if wrong := await failures(sidecar, bundle, models):
        raise Refused("bundle.canaries", f"the bundle fails its own canaries: {'; '.join(wrong)}")


async def _wrong(sidecar: Sidecar, canary: Any, models: Mapping[str, type[Document]]) -> str:
    """What is wrong about one canary's answer, "" for nothing."""
    try:
        asked = _Canary.model_validate(thaw(canary))
    except ValidationError:
        return "a canary holds document, question and expect, and expects something"
    question = canonical.canonical(asked.question)
    model = models.get(asked.document)
    answer = await (
        sidecar.ask(asked.document, question, apart=True)
        if model is None
        else sidecar.ask(asked.document, question, model, apart=True)
    )
    return _differs(asked.expect, answer.value, "", decision=asked.document == "decision")


def _differs(expected: Any, found: Any, pointer: str, *, decision: bool = False) -> str:
    """Where the answer is not what was expected: objects may hold more, everything else is equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            steps = _SHORT[key] if decision and key in _SHORT and key not in found else (key,)
            here: Any = found
            there = pointer
            for step in steps:
                there = canonical.pointer_to(there, step)
                if not isinstance(here, Mapping) or step not in here:
                    return f"the answer holds no {there}"
                here = here[step]
            if because := _differs(value, here, there):
                return because
        return ""
    if canonical.canonical(expected) != canonical.canonical(found):
        return f"{pointer or '/'} is {found!r}, not {expected!r}"
    return ""
