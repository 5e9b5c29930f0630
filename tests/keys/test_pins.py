"""Pins: what a verifier trusts was compared by a person, and is found fit each time it is read."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.canonical import canonical, load
from magistrate.core.errors import Broken, Forged, Malformed
from magistrate.core.signature import key_id, signer_from_seed
from magistrate.keys import pins
from tests.keys.test_private import refused

ORIGIN = "acme/prod"
ONE, TWO = (signer_from_seed(bytes([n]) * 32) for n in (1, 2))
SMALL_ORDER = "01" + "00" * 31


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pins"


def pin(folder, signer=ONE, origin=ORIGIN, role="warrant"):
    return pins.pin(folder, pins.export(origin, role, signer.public), signer.key_id)


def the_file(folder):
    (found,) = folder.glob("*.json")
    return found


def test_a_pinned_key_is_found_by_its_origin_and_role(folder):
    pin(folder)
    assert [key.raw for key in pins.pinned(folder, ORIGIN, "warrant")] == [ONE.public]
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600


def test_an_export_is_exactly_its_canonical_bytes_and_a_newline():
    raw = pins.export(ORIGIN, "warrant", ONE.public)
    said = {"origin": ORIGIN, "role": "warrant", "key_id": ONE.key_id, "public_key": ONE.public.hex()}
    assert raw == canonical({**said, "algorithm": "Ed25519"}) + b"\n"
    assert pins.exported(raw).plain() == {**said, "algorithm": "Ed25519"}


def test_a_file_that_names_no_algorithm_is_pinned_as_the_only_one_and_another_is_refused(folder):
    said = {"origin": ORIGIN, "role": "warrant", "key_id": ONE.key_id, "public_key": ONE.public.hex()}
    assert pins.pin(folder, canonical(said) + b"\n", ONE.key_id).algorithm == "Ed25519"
    for other in ("ES256", "ed25519", "", "none"):
        with refused(Malformed, "key.malformed"):
            pins.pin(folder, canonical({**said, "algorithm": other}) + b"\n", ONE.key_id)


def test_nothing_pinned_nothing_trusted(folder):
    with refused(Broken, "key.unpinned"):
        pins.pinned(folder, ORIGIN, "warrant")
    pin(folder)
    for origin, role in (("acme/test", "warrant"), (ORIGIN, "checkpoint"), ("acme", "prod"), ("", "")):
        with refused(Broken, "key.unpinned"):
            pins.pinned(folder, origin, role)


def test_after_a_rotation_both_keys_are_trusted(folder):
    pin(folder)
    pin(folder, TWO)
    pin(folder)
    assert {key.raw for key in pins.pinned(folder, ORIGIN, "warrant")} == {ONE.public, TWO.public}


def test_two_origins_that_could_be_joined_alike_are_two(folder):
    pin(folder, origin="a/warrant", role="warrant")
    pin(folder, TWO, origin="a", role="warrant")
    assert [key.raw for key in pins.pinned(folder, "a", "warrant")] == [TWO.public]


@pytest.mark.parametrize(
    "fingerprint",
    ["", TWO.key_id, ONE.key_id[:-1], ONE.key_id[7:], ONE.key_id.upper(), ONE.key_id + " ", "é", "\ud800"],
)
def test_another_fingerprint_pins_nothing(folder, fingerprint):
    with refused(Broken, "key.fingerprint"):
        pins.pin(folder, pins.export(ORIGIN, "warrant", ONE.public), fingerprint)
    assert not folder.exists()


def test_a_file_that_states_another_id_pins_nothing(folder):
    said = {**load(pins.export(ORIGIN, "warrant", ONE.public)), "key_id": TWO.key_id}
    with refused(Broken, "key.id"):
        pins.pin(folder, canonical(said), TWO.key_id)
    assert not folder.exists()


def test_a_key_of_small_order_is_neither_exported_nor_pinned_nor_read(folder):
    raw = bytes.fromhex(SMALL_ORDER)
    with refused(Forged, "key.small_order"):
        pins.export(ORIGIN, "warrant", raw)
    said = canonical({"origin": ORIGIN, "role": "warrant", "key_id": key_id(raw), "public_key": SMALL_ORDER})
    with refused(Forged, "key.small_order"):
        pins.pin(folder, said, key_id(raw))
    pin(folder)
    the_file(folder).write_bytes(said)
    with refused(Forged, "key.small_order"):
        pins.pinned(folder, ORIGIN, "warrant")


@pytest.mark.parametrize(
    "change",
    [
        {"origin": ""},
        {"role": "root"},
        {"public_key": "00"},
        {"public_key": ONE.public.hex().upper()},
        {"key_id": ONE.key_id[7:]},
        {"key_id": None},
        {"comment": "trust me"},
    ],
)
def test_a_file_of_another_form_is_refused(folder, change):
    said = {**load(pins.export(ORIGIN, "warrant", ONE.public)), **change}
    with refused(Malformed, "key.malformed"):
        pins.pin(folder, canonical(said), ONE.key_id)


@pytest.mark.parametrize("raw", [b"", b"[]", b"not json", b" " * 5000])
def test_another_file_is_refused(folder, raw):
    with refused(Malformed, "key.malformed"):
        pins.pin(folder, raw, ONE.key_id)


def test_a_file_that_was_reformatted_is_refused():
    raw = pins.export(ORIGIN, "warrant", ONE.public)
    for other in (raw + b"\n", b" " + raw, raw.replace(b",", b", ")):
        with refused(Malformed, "key.malformed"):
            pins.exported(other)


def test_one_damaged_pin_stops_the_verification(folder):
    pin(folder)
    the_file(folder).write_bytes(b"{}")
    pin(folder, TWO)
    with refused(Broken, "pin.damaged"):
        pins.pinned(folder, ORIGIN, "warrant")


def test_a_pin_put_in_the_place_of_another_is_refused(folder):
    pin(folder)
    the_file(folder).write_bytes(pins.export("evil/prod", "warrant", ONE.public))
    with refused(Broken, "pin.damaged"):
        pins.pins(folder)


def test_a_pin_others_can_write_is_refused(folder):
    pin(folder)
    the_file(folder).chmod(0o666)
    with refused(Broken, "pin.open"):
        pins.pinned(folder, ORIGIN, "warrant")


def test_a_pin_that_is_a_link_is_refused(folder):
    pin(folder)
    (folder / "moved").symlink_to(the_file(folder))
    (folder / "moved").rename(folder / "linked.json")
    with refused(Broken, "pin.symlink"):
        pins.pinned(folder, ORIGIN, "warrant")


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_of_an_exported_key_can_change_and_keep_its_fingerprint(at, bit):
    raw = bytearray(pins.export(ORIGIN, "warrant", ONE.public))
    raw[at % len(raw)] ^= 1 << bit
    try:
        said = pins.exported(bytes(raw))
    except (Malformed, Forged, Broken):
        return
    # what the fingerprint covers is the key; origin and role are the reader's to look at
    assert said.key_id == ONE.key_id
    assert said.public_key == ONE.public.hex()
    assert (said.origin, said.role) != (ORIGIN, "warrant")
