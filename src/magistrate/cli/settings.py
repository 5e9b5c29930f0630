"""Every setting, all by the environment; a flag of the same meaning goes before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from magistrate.cli import places


@dataclass(frozen=True)
class Setting:
    """One setting."""

    name: str
    meaning: str
    default: Callable[[], str] = lambda: ""


SETTINGS = (
    Setting("MAGISTRATE_URL", "address of the service the command line speaks to"),
    Setting("MAGISTRATE_PROFILE", "whose profile the command line uses"),
    Setting("MAGISTRATE_DATA", "data folder of the service", lambda: str(places.data())),
    Setting(
        "MAGISTRATE_STATE", "high-water marks and installation keys, outside the data", lambda: str(places.state())
    ),
    Setting("MAGISTRATE_CONFIG", "profiles, keys and pins of this person", lambda: str(places.configuration())),
    Setting("MAGISTRATE_KEK_FILE", "file with the 32-byte installation key"),
    Setting("MAGISTRATE_OPA", "the OPA binary to use"),
    Setting("MAGISTRATE_OPA_SHA256", "digests of OPA binaries accepted without asking"),
    Setting("MAGISTRATE_OPA_CACHE", "where OPA is kept", lambda: str(places.cache())),
    Setting("MAGISTRATE_OPA_SECONDS", "deadline of one question", lambda: "1.0"),
    Setting("MAGISTRATE_RESOLVE", "HOST:PORT=ADDRESS:PORT,... pins where catalogue hosts lead"),
    Setting("MAGISTRATE_SECRETS", "folder with one 0600 file for each secret a catalogue row names"),
    Setting("MAGISTRATE_DEMO_STORY", "another data file of the demo's people and story"),
    Setting("MAGISTRATE_DEMO_BUNDLE", "another bundle for the demo"),
)
