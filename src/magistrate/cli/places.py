"""Where the command line finds things: folders by the environment or the platform, a service, a credential."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from magistrate.client import Client, Credential
from magistrate.core import canonical
from magistrate.core.errors import Unavailable
from magistrate.core.signature import Signer
from magistrate.keys import operator, private


def data() -> Path:
    """The data folder of this machine's service."""
    return Path(os.environ.get("MAGISTRATE_DATA") or platformdirs.user_data_path("magistrate"))


def configuration() -> Path:
    """The folder of this person's profiles and keys."""
    return Path(os.environ.get("MAGISTRATE_CONFIG") or platformdirs.user_config_path("magistrate"))


def state() -> Path:
    """The folder of high-water marks and installation keys: never inside the data folder."""
    return Path(os.environ.get("MAGISTRATE_STATE") or platformdirs.user_state_path("magistrate"))


def cache() -> Path:
    """The folder where OPA is kept."""
    return Path(os.environ.get("MAGISTRATE_OPA_CACHE") or platformdirs.user_cache_path("magistrate"))


@dataclass(frozen=True)
class Me:
    """Who the command line speaks as."""

    client: Client
    profile: operator.Profile | None
    signer: Signer | None

    def operator(self) -> tuple[str, Signer]:
        """The operator's id and signer.

        Raises:
            Unavailable: this is no operator's profile.
        """
        if self.profile is None or self.signer is None:
            raise Unavailable(
                "profile.operator", "this needs an operator's profile", hint="magistrate --profile ID approvals ls"
            )
        return self.profile.id, self.signer


def service(data_folder: Path, url: str = "") -> str:
    """The address of the service: given, by the environment, or as the running one wrote it.

    Raises:
        Unavailable: `service.none`.
    """
    given = url or os.environ.get("MAGISTRATE_URL", "")
    if given:
        return given
    at = data_folder / "service.json"
    try:
        said = canonical.load(at.read_bytes())
    except OSError:
        raise Unavailable("service.none", "no service is running here", hint="magistrate up --demo") from None
    return str(said["url"]) if isinstance(said, dict) else ""


def me(profile: str = "", url: str = "") -> Me:
    """A client for the service, with the credential of the profile: the named one, or the only one there is.

    Raises:
        Unavailable: no service, or no profile by that name, or several and none named.
    """
    folder = configuration()
    name = profile or os.environ.get("MAGISTRATE_PROFILE", "")
    if not name:
        known = operator.profiles(folder) if folder.exists() else []
        if len(known) != 1:
            detail = (
                f"several profiles lie in {folder}: {', '.join(known)}" if known else f"no profile lies in {folder}"
            )
            raise Unavailable(
                "profile.unnamed", detail, hint=f"magistrate --profile {known[0] if known else 'ID'} status"
            )
        name = known[0]
    found = operator.profile(folder, name)
    signer = None
    if found.key_file:
        role = "operator" if found.type == "operator" else "agent"
        signer = operator.load(folder, found.id, operator.lock(folder, state()), role=role).signer  # type: ignore[arg-type]
    return Me(Client(_address(found, url), Credential(found.api_key, signer)), found, signer)


def _address(profile: operator.Profile, url: str) -> str:
    """Given, by the environment, as this machine's service wrote it where it is the profile's, or as enrolled."""
    try:
        here = canonical.load((data() / "service.json").read_bytes())
    except OSError:
        here = None
    if isinstance(here, dict) and here.get("origin") == profile.origin:
        return service(data(), url)
    return url or os.environ.get("MAGISTRATE_URL", "") or profile.url


def operator_key(id_: str) -> Signer:
    """An operator's key in this person's folder: made here, or the one an attempt before this made."""
    folder = private.folder(configuration(), what="configuration")
    lock = operator.lock(folder, state(), first_start=True)
    known = operator.path(folder, id_).exists()
    return (operator.load if known else operator.make)(folder, id_, lock).signer


def known_profile(name: str) -> operator.Profile | None:
    """The profile of this name, if one lies in this person's folder."""
    folder = configuration()
    return operator.profile(folder, name) if name in operator.profiles(folder) else None


def save_profile(url: str, origin: str, type_: str, id_: str, *, api_key: str = "", genesis: str = "") -> Path:
    """Write the profile of somebody who was enrolled."""
    folder = private.folder(configuration(), what="configuration")
    key_file = "" if api_key else str(operator.path(folder, id_))
    profile = operator.Profile.model_validate(
        {
            "url": url,
            "origin": origin,
            "type": type_,
            "id": id_,
            "key_file": key_file,
            "api_key": api_key,
            "genesis": genesis,
        }
    )
    return operator.save(folder, id_, profile)
