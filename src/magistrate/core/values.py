"""The small values every document is made of: identifiers, digests, times, frozen models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, ValidationError

from magistrate.core.errors import Malformed

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
SIGNATURE = r"^0x[0-9a-f]{128}$"

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
Name = Annotated[str, StringConstraints(pattern=r"^$|" + IDENTIFIER)]  # "" stands for none
Digest = Annotated[str, StringConstraints(pattern=DIGEST)]
Moment = Annotated[str, StringConstraints(pattern=MOMENT)]
Signature = Annotated[str, StringConstraints(pattern=SIGNATURE)]
Text = Annotated[str, StringConstraints(max_length=8192)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


def thaw(value: Any) -> Any:
    """Plain, writable JSON again from a read-only view."""
    if isinstance(value, Mapping):
        return {k: thaw(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(v) for v in value]
    return value


def freeze(value: Any) -> Any:
    """A read-only view of a JSON value: nobody changes what was digested."""
    if isinstance(value, Mapping):
        return MappingProxyType({k: freeze(v) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(v) for v in value)
    return value


Free = Annotated[dict[str, Any], AfterValidator(freeze), PlainSerializer(thaw, return_type=dict[str, Any])]


class Document(BaseModel):
    """Frozen, strict, unknown fields refused; every field is always present."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=False)

    def plain(self) -> dict[str, Any]:
        """The document as plain JSON, as it is hashed and signed."""
        return self.model_dump(mode="json")


D = TypeVar("D", bound="Document")


def parse(model: type[D], canonical: bytes, *, code: str = "input.shape") -> D:
    """Return the document these canonical bytes hold.

    Raises:
        Malformed: a field is missing, unknown or of the wrong type; the pointer says which.
    """
    try:
        return model.model_validate_json(canonical, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in first["loc"])
        raise Malformed(code, f"{first['msg']} at {pointer or '/'}", pointer=pointer) from None


def moment(unix: int) -> str:
    """The UTC time, whole seconds, as documents write it."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(at: str) -> int:
    """Seconds since 1970 of a time as documents write it.

    Raises:
        Malformed: not a time of the calendar.
    """
    try:
        return int(datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise Malformed("input.time", f"{at!r} is not a UTC time such as 2026-03-25T14:00:00Z") from None


def clock_facts(seconds: int) -> dict[str, Any]:
    """A question's `now`: Rego does no calendar work."""
    at = datetime.fromtimestamp(seconds, UTC)
    return {
        "unix": seconds,
        "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "weekday": at.strftime("%A"),
        "minute_of_day": at.hour * 60 + at.minute,
    }
