"""Key files: a round trip, and each kind of damage with its own code. Nothing is ever made anew."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magistrate.core import p256
from magistrate.core.canonical import canonical, load
from magistrate.core.errors import Broken, Conflict, MagistrateError, Malformed, Unavailable
from magistrate.core.signature import Signer, admit, signer_from_seed
from magistrate.keys import files
from magistrate.keys.files import ROLES, Passphrase, RoleKey
from magistrate.keys.kek import Kek
from tests.keys.test_private import refused

PHRASE = Passphrase("correct horse battery staple")
OTHER = Kek(bytes(32), "file", Path("elsewhere"))


@pytest.fixture
def folder(data):
    return data / "keys"


@pytest.fixture
def made(folder, lock) -> RoleKey:
    return files.make(folder, "warrant", lock)


def rewrite(path, **changes):
    said = load(path.read_bytes())
    path.write_bytes(canonical({**said, **changes}) + b"\n")


@pytest.mark.parametrize("role", ROLES)
def test_a_key_is_loaded_as_it_was_made(folder, lock, role):
    made = files.make(folder, role, lock)
    loaded = files.load(folder, role, lock)
    assert (loaded.role, loaded.signer) == (role, made.signer)
    admit(made.signer.public).verify(b"said", loaded.signer.sign(b"said"))
    assert stat.S_IMODE((folder / f"{role}.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_key_for_opa_is_of_p_256_and_kept_like_the_others(folder, lock):
    made = files.make(folder, "bundle", lock)
    loaded = files.load(folder, "bundle", lock)
    assert loaded == RoleKey("bundle", loaded.signer)
    assert (loaded.signer.key_id, loaded.signer.public) == (made.signer.key_id, made.signer.public)
    assert len(loaded.signer.public) == p256.PUBLIC_BYTES
    p256.verify(made.signer.public, b"said", loaded.signer.sign(b"said"))
    files.probe(loaded.signer)
    assert stat.S_IMODE((folder / "bundle.key").stat().st_mode) == 0o600


def test_keys_that_lie_side_by_side_bear_their_ids(folder, lock):
    made = [files.make_beside(folder, "bundle", lock).signer for _ in range(2)]
    names = {files.beside("bundle", signer.key_id) for signer in made}
    assert {path.stem for path in folder.iterdir()} == names
    for signer in made:
        loaded = files.load(folder, "bundle", lock, name=files.beside("bundle", signer.key_id)).signer
        assert loaded.key_id == signer.key_id


def test_an_ed25519_key_is_no_key_for_opa(folder, lock):
    made = files.make(folder, "warrant", lock)
    raw = (folder / "warrant.key").read_bytes()
    (folder / "bundle.key").touch(mode=0o600)
    (folder / "bundle.key").write_bytes(raw.replace(b'"role":"warrant"', b'"role":"bundle"'))
    with refused(Broken, "key.damaged"):
        files.load(folder, "bundle", lock)
    stranger = p256.signer_from_scalar(b"\x01" * 32)
    with refused(Broken, "key.probe"):
        files.probe(Signer(stranger.key_id, stranger.public, made.signer.sign))


def test_the_file_holds_nothing_of_the_private_key(folder, lock, monkeypatch):
    seed = bytes(range(32))
    monkeypatch.setattr(files.secrets, "token_bytes", lambda size: seed[:size])
    files.make(folder, "warrant", lock)
    raw = (folder / "warrant.key").read_bytes()
    assert seed not in raw
    assert seed.hex().encode() not in raw
    assert lock.key.hex().encode() not in raw


def test_a_second_key_of_a_role_is_never_made_over_the_first(folder, lock, made):
    with refused(Conflict, "key.exists"):
        files.make(folder, "warrant", lock)
    assert files.load(folder, "warrant", lock).signer == made.signer


def test_a_missing_key_is_not_made(folder, lock, made):
    (folder / "warrant.key").unlink()
    with refused(Unavailable, "key.missing"):
        files.load(folder, "warrant", lock)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_file_others_can_read_is_refused(folder, lock, made, mode):
    (folder / "warrant.key").chmod(mode)
    with refused(Broken, "key.open"):
        files.load(folder, "warrant", lock)


def test_a_link_to_a_key_file_is_refused(folder, lock, made):
    (folder / "warrant.key").rename(folder / "moved")
    (folder / "warrant.key").symlink_to("moved")
    with refused(Broken, "key.symlink"):
        files.load(folder, "warrant", lock)


def test_the_key_of_another_role_is_refused(folder, lock, made):
    (folder / "warrant.key").rename(folder / "policy.key")
    with refused(Broken, "key.role"):
        files.load(folder, "policy", lock)


def test_a_role_written_over_does_not_open(folder, lock, made):
    rewrite(folder / "warrant.key", role="policy")
    (folder / "warrant.key").rename(folder / "policy.key")
    with refused(Broken, "key.damaged"):
        files.load(folder, "policy", lock)


def test_another_installation_key_is_named_as_the_cause(folder, made):
    with refused(Broken, "key.lock"):
        files.load(folder, "warrant", OTHER)


def test_a_claimed_lock_opens_nothing(folder, made):
    rewrite(folder / "warrant.key", lock=OTHER.lock)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", OTHER)


def test_the_keys_of_two_files_cannot_be_exchanged(folder, lock, made):
    other = load((files.make(folder, "policy", lock) and folder / "policy.key").read_bytes())
    rewrite(folder / "warrant.key", nonce=other["nonce"], ciphertext=other["ciphertext"])
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


def test_a_key_id_of_another_key_is_refused(folder, lock, made):
    rewrite(folder / "warrant.key", key_id="sha256:" + "0" * 64)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


@pytest.mark.parametrize("public", ["00" * 32, "01" + "00" * 31, "ff" * 32, "02" + "00" * 31])
def test_a_public_key_that_may_not_be_trusted_is_refused(folder, lock, made, public):
    rewrite(folder / "warrant.key", public_key=public)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


def test_a_sealed_file_that_states_another_key_id_is_refused(folder, lock):
    folder.mkdir(mode=0o700)
    signer = signer_from_seed(b"\x01" * 32)
    stated = Signer("sha256:" + "0" * 64, signer.public, signer.sign)
    (folder / "warrant.key").write_bytes(files._seal(b"\x01" * 32, stated, "warrant", lock))
    (folder / "warrant.key").chmod(0o600)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


def test_a_sealed_private_key_of_another_pair_is_refused(folder, lock):
    folder.mkdir(mode=0o700)
    stranger = signer_from_seed(b"\x01" * 32)
    (folder / "warrant.key").write_bytes(files._seal(b"\x02" * 32, stranger, "warrant", lock))
    (folder / "warrant.key").chmod(0o600)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"role": "root"},
        {"kdf": "pbkdf2"},
        {"kdf": "argon2id"},
        {"salt": "0" * 32},
        {"lock": ""},
        {"nonce": ""},
        {"nonce": "0" * 25},
        {"ciphertext": "0" * 94},
        {"ciphertext": "A" * 96},
        {"public_key": "0x" + "0" * 64},
        {"comment": ""},
    ],
)
def test_another_form_is_damage(folder, lock, made, change):
    rewrite(folder / "warrant.key", **change)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"-----BEGIN PRIVATE KEY-----\n", b"\x00" * 100])
def test_another_file_is_damage(folder, lock, made, raw):
    (folder / "warrant.key").write_bytes(raw)
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


def test_a_file_of_any_length_is_not_read_whole(folder, lock, made):
    (folder / "warrant.key").write_bytes(b" " * 20_000)
    with refused(Broken, "key.size"):
        files.load(folder, "warrant", lock)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_the_file_can_change(folder, lock, at, bit):
    path = folder / "warrant.key"
    if not path.exists():
        files.make(folder, "warrant", lock)
        (folder / "whole").write_bytes(path.read_bytes())
    raw = bytearray((folder / "whole").read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    with pytest.raises(MagistrateError) as caught:
        files.load(folder, "warrant", lock)
    assert caught.value.code in {"key.damaged", "key.role", "key.lock"}
    assert path.read_bytes() == raw


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(2, 10_000))  # the final newline alone may be missing
def test_no_part_of_the_file_suffices(folder, lock, cut):
    path = folder / "warrant.key"
    if not path.exists():
        files.make(folder, "warrant", lock)
        (folder / "whole").write_bytes(path.read_bytes())
    path.write_bytes((folder / "whole").read_bytes()[:-cut])
    with refused(Broken, "key.damaged"):
        files.load(folder, "warrant", lock)


# -- passphrases


def test_a_passphrase_opens_what_it_sealed_and_another_does_not(folder):
    made = files.make(folder, "operator", PHRASE, name="ana")
    assert files.load(folder, "operator", PHRASE, name="ana").signer == made.signer
    with refused(Broken, "key.passphrase"):
        files.load(folder, "operator", Passphrase("correct horse battery stable"), name="ana")


def test_a_passphrase_is_the_same_however_its_letters_are_composed(folder):
    made = files.make(folder, "operator", Passphrase("caf\u00e9 au lait, s'il"), name="ana")
    assert files.load(folder, "operator", Passphrase("cafe\u0301 au lait, s'il"), name="ana").signer == made.signer


def test_two_files_under_one_passphrase_have_two_salts(folder):
    for name in ("ana", "bob"):
        files.make(folder, "operator", PHRASE, name=name)
    salts = {load((folder / f"{name}.key").read_bytes())["salt"] for name in ("ana", "bob")}
    assert len(salts) == 2
    assert "" not in salts


def test_a_key_does_not_open_what_a_passphrase_sealed_nor_the_reverse(folder, lock):
    files.make(folder, "operator", PHRASE, name="ana")
    with refused(Broken, "key.lock"):
        files.load(folder, "operator", lock, name="ana")
    files.make(folder, "operator", lock, name="bob")
    with refused(Broken, "key.lock"):
        files.load(folder, "operator", PHRASE, name="bob")


def test_a_passphrase_file_without_its_salt_is_damage(folder):
    files.make(folder, "operator", PHRASE, name="ana")
    rewrite(folder / "ana.key", salt="")
    with refused(Broken, "key.damaged"):
        files.load(folder, "operator", PHRASE, name="ana")


def test_a_short_passphrase_is_none_and_none_shows_itself():
    with refused(Malformed, "key.passphrase_short"):
        Passphrase("elevenchars")
    assert "horse" not in repr(PHRASE)


# -- rotation


def test_a_rotation_takes_effect_when_the_ledger_names_the_next_key(folder, lock, made):
    following = files.make_next(folder, "warrant", lock)
    assert files.settle(folder, "warrant", lock, expected=made.signer.key_id).signer == made.signer
    assert files.settle(folder, "warrant", lock, expected=following.signer.key_id).signer == following.signer
    assert files.load(folder, "warrant", lock).signer == following.signer
    assert files.settle(folder, "warrant", lock, expected=following.signer.key_id).signer == following.signer


def test_a_rotation_is_on_disk_when_it_has_happened(folder, lock, made, monkeypatch):
    following = files.make_next(folder, "warrant", lock)
    synced = []
    monkeypatch.setattr(files.private, "sync_folder", synced.append)
    files.settle(folder, "warrant", lock, expected=made.signer.key_id)
    assert synced == []
    files.settle(folder, "warrant", lock, expected=following.signer.key_id)
    assert synced == [folder]


def test_a_next_key_that_never_came_into_force_is_dropped(folder, lock, made):
    dropped = files.make_next(folder, "warrant", lock)
    following = files.make_next(folder, "warrant", lock)
    assert dropped.signer != following.signer
    with refused(Broken, "key.unexpected"):
        files.settle(folder, "warrant", lock, expected=dropped.signer.key_id)


def test_neither_key_being_the_one_expected_changes_nothing(folder, lock, made):
    with refused(Broken, "key.unexpected"):
        files.settle(folder, "warrant", lock, expected="sha256:" + "0" * 64)
    files.make_next(folder, "warrant", lock)
    with refused(Broken, "key.unexpected"):
        files.settle(folder, "warrant", lock, expected="sha256:" + "0" * 64)
    assert files.load(folder, "warrant", lock).signer == made.signer


def test_a_damaged_next_key_is_not_taken_for_none(folder, lock, made):
    following = files.make_next(folder, "warrant", lock)
    (folder / "warrant.next.key").write_bytes(b"{}")
    with refused(Broken, "key.damaged"):
        files.settle(folder, "warrant", lock, expected=following.signer.key_id)


# -- the probe


def test_the_probe_signs_and_verifies(made):
    files.probe(made.signer)


def test_a_signer_whose_public_key_is_another_fails_the_probe(made):
    stranger = signer_from_seed(b"\x01" * 32)
    with refused(Broken, "key.probe"):
        files.probe(Signer(made.signer.key_id, made.signer.public, stranger.sign))


def test_a_signer_with_a_key_nobody_may_trust_fails_the_probe(made):
    with refused(Broken, "key.probe"):
        files.probe(Signer(made.signer.key_id, bytes(32), made.signer.sign))
