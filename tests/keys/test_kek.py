"""The installation key: where it is looked for, and every way in which it is refused."""

from __future__ import annotations

import os
import stat

import pytest

from magistrate.core.errors import Broken, Conflict, Unavailable
from magistrate.keys import kek, private
from magistrate.keys.kek import Kek, Places, find, own
from tests.keys.test_private import refused

KEY = bytes(range(32))


def written(path, raw=KEY, mode=0o600):
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(raw)
    path.chmod(mode)
    return path


def test_the_first_start_makes_one_and_every_later_start_finds_it(data, state):
    made = find(data, Places(state=state), first_start=True)
    assert made.source == "own"
    assert made.path == own(data, state)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert find(data, Places(state=state)) == made
    assert find(data, Places(state=state), first_start=True) == made


def test_a_later_start_makes_none(data, state):
    with refused(Unavailable, "kek.missing"):
        find(data, Places(state=state))
    assert not state.exists()


def test_two_installations_have_two_keys_however_their_folders_are_spelt(data, state, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    one = find(data, Places(state=state), first_start=True)
    two = find(other, Places(state=state), first_start=True)
    assert one.key != two.key
    assert one.path == own(data / ".." / "data", state)


def test_the_named_file_comes_first_then_the_credential_then_our_own(data, state, tmp_path):
    mine = find(data, Places(state=state), first_start=True)
    credential = written(tmp_path / "credentials" / "magistrate-kek", b"c" * 32, 0o400)
    given = written(tmp_path / "given.kek", b"g" * 32)

    named = Places(given=given, credentials=credential.parent, state=state)
    assert (find(data, named).source, find(data, named).key) == ("file", b"g" * 32)

    by_unit = Places(credentials=credential.parent, state=state)
    assert (find(data, by_unit).source, find(data, by_unit).key) == ("systemd", b"c" * 32)

    credential.unlink()  # the unit has other credentials only
    assert find(data, by_unit) == mine


def test_a_named_file_that_is_missing_is_not_made_up_for_by_another(data, state, tmp_path):
    find(data, Places(state=state), first_start=True)
    with refused(Unavailable, "kek.missing"):
        find(data, Places(given=tmp_path / "none", state=state), first_start=True)


def test_a_credential_that_leads_nowhere_is_not_passed_over(data, state, tmp_path):
    find(data, Places(state=state), first_start=True)
    (tmp_path / "magistrate-kek").symlink_to(tmp_path / "none")
    with refused(Broken, "kek.symlink"):
        find(data, Places(credentials=tmp_path, state=state))


def test_a_credential_may_be_readable_for_the_group_as_systemd_shows_it_and_nothing_more(data, tmp_path):
    credential = written(tmp_path / "credentials" / "magistrate-kek", mode=0o440)
    places = Places(credentials=credential.parent)
    assert find(data, places).key == KEY
    for mode in (0o444, 0o460, 0o450):
        credential.chmod(mode)
        with refused(Broken, "kek.open"):
            find(data, places)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_another_size_is_refused(data, tmp_path, size):
    given = written(tmp_path / "given.kek", bytes(size))
    with refused(Broken, "kek.size"):
        find(data, Places(given=given))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_others_can_read_is_refused(data, tmp_path, mode):
    with refused(Broken, "kek.open"):
        find(data, Places(given=written(tmp_path / "given.kek", mode=mode)))


def test_a_link_to_a_good_key_is_refused(data, tmp_path):
    written(tmp_path / "given.kek")
    (tmp_path / "link").symlink_to("given.kek")
    with refused(Broken, "kek.symlink"):
        find(data, Places(given=tmp_path / "link"))


def test_a_key_of_another_user_is_refused(data, tmp_path, monkeypatch):
    given = written(tmp_path / "given.kek")
    monkeypatch.setattr(os, "geteuid", lambda: given.stat().st_uid + 1)
    with refused(Broken, "kek.owner"):
        find(data, Places(given=given))


def test_a_key_inside_the_data_folder_is_refused_by_any_path(data, tmp_path):
    written(data / "sub" / "given.kek")
    (tmp_path / "elsewhere").symlink_to(data)
    (tmp_path / "seen-from-outside").mkdir()
    for path in (
        data / "sub" / "given.kek",
        tmp_path / "elsewhere" / "sub" / "given.kek",
        tmp_path / "seen-from-outside" / ".." / "data" / "sub" / "given.kek",
    ):
        with refused(Broken, "kek.inside"):
            find(data, Places(given=path))


def test_a_state_folder_inside_the_data_folder_gets_no_key(data):
    with refused(Broken, "kek.inside"):
        find(data, Places(state=data / "state"), first_start=True)
    assert list(data.iterdir()) == []


def test_a_key_that_cannot_be_reached_is_not_taken_for_none(data, state):
    state.write_bytes(b"a file where the folder was")
    with refused(Unavailable, "kek.unreadable"):
        find(data, Places(state=state), first_start=True)


def test_a_damaged_key_is_never_made_anew(data, state):
    made = find(data, Places(state=state), first_start=True)
    made.path.write_bytes(b"short")
    with refused(Broken, "kek.size"):
        find(data, Places(state=state), first_start=True)
    assert made.path.read_bytes() == b"short"


def test_of_two_first_starts_at_once_one_gives_way(data, state, monkeypatch):
    real = private.make

    def too_late(path, raw, *, what):
        real(path, KEY, what=what)
        real(path, raw, what=what)

    monkeypatch.setattr(private, "make", too_late)
    with refused(Conflict, "kek.exists"):
        find(data, Places(state=state), first_start=True)
    assert own(data, state).read_bytes() == KEY


def test_the_environment_names_the_places():
    named = Places.of({"MAGISTRATE_KEK_FILE": "/etc/m.kek", "CREDENTIALS_DIRECTORY": "/run/credentials/m"})
    assert (str(named.given), str(named.credentials)) == ("/etc/m.kek", "/run/credentials/m")
    assert Places.of({}) == Places.of({"MAGISTRATE_KEK_FILE": "", "CREDENTIALS_DIRECTORY": ""}) == Places()


def test_without_a_state_folder_it_is_the_users(data, monkeypatch, tmp_path):
    monkeypatch.setattr(kek.platformdirs, "user_state_path", lambda name: tmp_path / "home" / name)
    assert own(data).parent == tmp_path / "home" / "magistrate"


def test_a_key_never_shows_itself(tmp_path):
    shown = repr(Kek(KEY, "file", tmp_path))
    assert "key=" not in shown
    assert KEY.hex() not in Kek(KEY, "file", tmp_path).lock
    assert Kek(KEY, "file", tmp_path).lock != Kek(bytes(32), "file", tmp_path).lock
