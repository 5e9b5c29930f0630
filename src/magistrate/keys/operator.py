"""What a person or an agent keeps on their own machine: key files, API keys, and profiles for the command line."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, unquote

import platformdirs
from pydantic import Field, StringConstraints, model_validator

from magistrate.core.canonical import canonical, load_canonical
from magistrate.core.errors import Broken, Malformed, Unauthenticated
from magistrate.core.values import Document, Identifier, parse
from magistrate.keys import files, kek, private

Person = Literal["operator", "agent", "observer"]

API_KEY = re.compile(r"mk_[A-Za-z0-9_-]{43}")  # 32 random bytes in base64url


class Profile(Document):
    """Where a service is, who one is there, and which credential says so; `genesis` is the leaf one pinned."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,2000}$")]
    origin: Identifier
    type: Literal["operator", "agent", "observer", "auditor"]
    id: Identifier
    key_file: Annotated[str, StringConstraints(max_length=4096)]
    api_key: Annotated[str, StringConstraints(pattern=r"^(mk_[A-Za-z0-9_-]{43})?$")] = Field(repr=False)
    genesis: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if bool(self.key_file) == bool(self.api_key):
            raise ValueError("a profile names a key file or holds an API key, the one or the other")
        return self


def home(configuration: Path | None = None) -> Path:
    """The user's configuration folder for this program."""
    return configuration or platformdirs.user_config_path("magistrate")


def lock(folder: Path, state: Path | None = None, *, first_start: bool = False) -> kek.Kek:
    """Return the user's own lock for key files without a passphrase: a 0600 file outside the configuration folder.

    Raises:
        as `kek.find`.
    """
    return kek.find(folder, kek.Places(state=state), first_start=first_start)


def make(folder: Path, id_: str, key: files.Lock, *, role: Person = "operator") -> files.RoleKey:
    """Make a person's key in their folder; `path` says where it lies.

    Raises:
        as `files.make`.
    """
    return files.make(folder / "keys", role, key, name=_named(id_))


def load(folder: Path, id_: str, key: files.Lock, *, role: Person = "operator") -> files.RoleKey:
    """Return the key a person made.

    Raises:
        as `files.load`.
    """
    return files.load(folder / "keys", role, key, name=_named(id_))


def path(folder: Path, id_: str) -> Path:
    """Where the key of this person lies."""
    return folder / "keys" / f"{_named(id_)}.key"


def people(folder: Path) -> list[str]:
    """The ids whose keys lie in the folder."""
    return sorted(unquote(found.name.removesuffix(".key")) for found in (folder / "keys").glob("[!.]*.key"))


def save(folder: Path, name: str, profile: Profile) -> Path:
    """Write a profile, in the place of one of the same name, and return its path.

    Raises:
        Unavailable: `profile.unwritable`.
        Broken: `profile.folder`: others may write in the folder.
    """
    at = private.folder(folder / "profiles", what="profile") / f"{_named(name)}.json"
    private.replace(at, canonical(profile.plain()) + b"\n", what="profile")
    return at


def profile(folder: Path, name: str) -> Profile:
    """Return the profile of this name.

    Raises:
        Unavailable: `profile.missing`.
        Broken: `profile.damaged`, and what `private.read` refuses.
    """
    return read_profile(folder / "profiles" / f"{_named(name)}.json")


def read_profile(at: Path) -> Profile:
    """Return the profile in this file.

    Raises:
        as `profile`.
    """
    raw = private.read(at, what="profile")
    try:
        return parse(Profile, canonical(load_canonical(raw)))
    except Malformed as error:
        raise Broken("profile.damaged", f"{at}: {error.detail}", hint="magistrate operators join --help") from None


def profiles(folder: Path) -> list[str]:
    """The names of the profiles in the folder."""
    return sorted(unquote(found.name.removesuffix(".json")) for found in (folder / "profiles").glob("[!.]*.json"))


def new_api_key() -> str:
    """A new API key, 256 bits; it is shown once and kept only as `api_key_hash`."""
    return "mk_" + secrets.token_urlsafe(32)


def api_key_hash(text: str) -> str:
    """The SHA-256 of an API key's exact text: what intents, the store and the ledger know of it.

    Raises:
        Unauthenticated: `credential.malformed`: this is no API key.
    """
    if API_KEY.fullmatch(text) is None:
        raise Unauthenticated("credential.malformed", "this is not an API key: mk_ and 43 characters")
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def hold_api_key(text: str, expected: str) -> None:
    """Return if this API key is the one whose hash is kept.

    Raises:
        Unauthenticated: `credential.malformed`, `credential.unknown`.
    """
    if not hmac.compare_digest(api_key_hash(text).encode(), expected.encode()):
        raise Unauthenticated("credential.unknown", "no such API key")


def _named(id_: str) -> str:
    """A file name for an identifier: nothing in it is a separator, and none begins with a dot."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", id_) is None:
        raise Malformed("input.shape", f"{id_!r} is not an identifier")
    return quote(id_, safe="")
