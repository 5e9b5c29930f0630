"""Doing what a catalogue row says: its executor, probes, halt and rollback, filled from the warrant's scope alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magistrate.core.canonical import canonical
from magistrate.core.execution import ObservationClaim
from magistrate.core.state import RowLike
from magistrate.core.values import moment
from magistrate.engine.installation import Installation
from magistrate.engine.verification import observation_of
from magistrate.executors import Outcome, run_template

PROBE_SECONDS = 10.0  # a probe that takes longer is no evidence
HALT_SECONDS = 10.0
MAX_FACTS = 48 * 1024  # bytes; what a probe says beyond this is no evidence, and must not crowd out the rest


class Deed:
    """The catalogue row of a warrant's action in the bundle that decided it, ready to be carried out."""

    def __init__(self, house: Installation, warrant: Mapping[str, Any], execution_id: str) -> None:
        self._house = house
        self._id = execution_id
        self.unseen: list[dict[str, Any]] = []  # what probes saw and could not bring, as a record names it
        data = house.bundle(warrant["policy"]["bundle"]).data["catalogue"]
        scope = warrant["scope"]
        self.row: Mapping[str, Any] = data["actions"][scope["action"]]
        self._context = {
            "action": scope["action"],
            "target": {"": scope["target"], **data["targets"][scope["target"]]},
            "parameters": scope["parameters"],
            "execution_id": execution_id,
        }

    @property
    def kind(self) -> str:
        """http, command, builtin or none."""
        return str(self.row["executor"]["kind"])

    async def attempt(self, n: int, seconds: float) -> Outcome:
        """Do it once. Cancelling it stops what runs and returns only when nothing of it is left."""
        return await self._run(self.row["executor"], seconds, f"{self._id}/{n}")

    async def halt(self) -> Outcome | None:
        """Tell the target to stop, where the row says how."""
        if "halt" not in self.row:
            return None
        return await self._run(self.row["halt"], HALT_SECONDS, f"{self._id}/halt")

    async def roll_back(self, before: Mapping[str, Any], seconds: float) -> Outcome:
        """Put back what was, from what was probed before."""
        return await self._run(self.row["rollback"], seconds, f"{self._id}/rollback", before=before)

    async def probe(self, phase: str) -> tuple[dict[str, Any], ...]:
        """What each probe of the row sees now; a probe that fails saw nothing.

        One that saw more than an entry takes is named in `unseen`.
        """
        seen = []
        for name in sorted(self.row.get("probes", {})):
            outcome = await self._run(
                self.row["probes"][name], PROBE_SECONDS, f"{self._id}/{name}/{phase}", probing=True
            )
            size = len(canonical(outcome.facts))
            if outcome.outcome == "succeeded" and size > MAX_FACTS:
                at = moment(self._house.now())
                self.unseen.append(
                    {"kind": "observation", "digest": "", "source": f"probe/{name}", "at": at, "bytes": size}
                )
            elif outcome.outcome == "succeeded":
                claim = ObservationClaim.model_validate({"phase": phase, "facts": outcome.facts})
                seen.append(observation_of(self._id, f"probe/{name}", self._house.now(), claim))
        return tuple(seen)

    async def _run(
        self,
        template: Mapping[str, Any],
        seconds: float,
        key: str,
        *,
        before: Mapping[str, Any] | None = None,
        probing: bool = False,
    ) -> Outcome:
        context = {**self._context, "before": before} if before is not None else self._context
        return await run_template(
            template,
            context,
            resolve=self._house.resolve,
            secret=self._house.secret,
            deadline_seconds=seconds,
            idempotency_key=key,
            secrets=self.row["secrets"],
            secret_parameters=self.row["secret_parameters"],
            probing=probing,
        )


def probed_before(execution: RowLike) -> dict[str, Any]:
    """The facts of each probe as they were before, by its name."""
    return {
        o["source"].removeprefix("probe/"): o["facts"]
        for o in execution.data["observations"]
        if o["phase"] == "before" and o["source"].startswith("probe/")
    }
