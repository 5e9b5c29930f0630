"""What a person keeps: keys, profiles, API keys; and each way in which they are refused."""

from __future__ import annotations

import hashlib
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.canonical import canonical, load
from magistrate.core.errors import Broken, Conflict, Malformed, Unauthenticated, Unavailable
from magistrate.keys import files, operator
from magistrate.keys.operator import Profile
from tests.keys.test_private import refused

KEY = "mk_" + "A" * 43


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "config"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def mine(home, state):
    return operator.lock(home, state, first_start=True)


def said(**changes):
    return {
        "url": "http://127.0.0.1:8420",
        "origin": "acme/prod",
        "type": "agent",
        "id": "deploy-bot",
        "key_file": "",
        "api_key": KEY,
        "genesis": "sha256:" + "0" * 64,
    } | changes


# -- key files


def test_a_persons_key_is_loaded_as_it_was_made(home, mine):
    made = operator.make(home, "ops-lead-1", mine)
    assert operator.load(home, "ops-lead-1", mine).signer == made.signer
    assert made.role == "operator"
    assert operator.path(home, "ops-lead-1").exists()


def test_ids_that_look_like_paths_name_files_in_the_folder(home, mine):
    for id_ in ("team/ana", "a/../../b", "x:y", "a%2Fb".replace("%", ".")):
        made = operator.make(home, id_, mine)
        assert operator.path(home, id_).parent == home / "keys"
        assert operator.load(home, id_, mine).signer == made.signer
    assert operator.people(home) == sorted(["team/ana", "a/../../b", "x:y", "a.2Fb"])


@pytest.mark.parametrize("id_", ["", ".hidden", "../up", "/etc/passwd", "a b", "a\n", "a%2Fb", "é", "a" * 129])
def test_what_is_no_identifier_names_no_file(home, mine, id_):
    with refused(Malformed, "input.shape"):
        operator.make(home, id_, mine)
    assert list(home.iterdir()) == []


def test_a_persons_key_is_never_made_over(home, mine):
    operator.make(home, "ana", mine)
    with refused(Conflict, "key.exists"):
        operator.make(home, "ana", mine)


def test_an_agents_key_is_no_operators(home, mine):
    operator.make(home, "bot", mine, role="agent")
    assert operator.load(home, "bot", mine, role="agent").role == "agent"
    with refused(Broken, "key.role"):
        operator.load(home, "bot", mine)


def test_a_person_with_a_passphrase_needs_no_lock(home):
    phrase = files.Passphrase("correct horse battery staple")
    made = operator.make(home, "ana", phrase)
    assert operator.load(home, "ana", phrase).signer == made.signer


def test_the_persons_lock_lies_outside_the_configuration_folder(home, mine, state):
    assert not mine.path.is_relative_to(home)
    assert operator.lock(home, state) == mine
    mine.path.unlink()
    with refused(Unavailable, "kek.missing"):
        operator.lock(home, state)


def test_no_folder_no_people(home):
    assert operator.people(home) == []
    assert operator.profiles(home) == []


def test_without_a_given_folder_it_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setattr(operator.platformdirs, "user_config_path", lambda name: tmp_path / name)
    assert operator.home() == tmp_path / "magistrate"
    assert operator.home(tmp_path) == tmp_path


# -- profiles


def test_a_profile_is_read_as_it_was_saved_and_only_by_its_owner(home):
    profile = Profile(**said())
    at = operator.save(home, "prod/bot", profile)
    assert stat.S_IMODE(at.stat().st_mode) == 0o600
    assert operator.profile(home, "prod/bot") == operator.read_profile(at) == profile
    assert operator.profiles(home) == ["prod/bot"]


def test_a_profile_may_be_saved_again(home):
    operator.save(home, "bot", Profile(**said()))
    changed = Profile(**said(key_file="/keys/bot.key", api_key=""))
    operator.save(home, "bot", changed)
    assert operator.profile(home, "bot") == changed


def test_a_profile_does_not_show_its_api_key():
    assert KEY not in repr(Profile(**said()))
    assert KEY not in str(Profile(**said()))


def test_a_missing_profile_is_unavailable(home):
    with refused(Unavailable, "profile.missing"):
        operator.profile(home, "none")


def test_a_profile_others_can_read_is_refused(home):
    operator.save(home, "bot", Profile(**said())).chmod(0o644)
    with refused(Broken, "profile.open"):
        operator.profile(home, "bot")


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": ""},
        {"key_file": "/keys/bot.key"},
        {"api_key": "mk_short"},
        {"api_key": KEY + "A"},
        {"type": "root"},
        {"url": "ftp://somewhere"},
        {"url": "http://a b"},
        {"origin": ""},
        {"id": "a b"},
        {"genesis": "abc"},
        {"genesis": None},
        {"more": ""},
    ],
)
def test_a_profile_of_another_form_is_damage(home, change):
    at = operator.save(home, "bot", Profile(**said()))
    at.write_bytes(canonical(said(**change)) + b"\n")
    with refused(Broken, "profile.damaged"):
        operator.profile(home, "bot")


def test_a_profile_written_by_hand_must_still_be_canonical(home):
    at = operator.save(home, "bot", Profile(**said()))
    at.write_bytes(b" " + at.read_bytes())
    with refused(Broken, "profile.damaged"):
        operator.profile(home, "bot")
    assert load(at.read_bytes()) == said()


# -- API keys


def test_an_api_key_has_256_bits_and_a_form_of_its_own():
    made = {operator.new_api_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"mk_[A-Za-z0-9_-]{43}", key) for key in made)


def test_an_api_key_is_known_by_the_hash_of_its_exact_text():
    assert operator.api_key_hash(KEY) == "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
    operator.hold_api_key(KEY, operator.api_key_hash(KEY))


@given(st.integers(3, 45), st.sampled_from("ABCxyz019_-"))
def test_one_other_character_is_another_key(at, letter):
    key = operator.new_api_key()
    changed = key[:at] + letter + key[at + 1 :]
    if changed != key:
        with refused(Unauthenticated, "credential.unknown"):
            operator.hold_api_key(changed, operator.api_key_hash(key))


@pytest.mark.parametrize(
    "text", ["", "mk_", KEY[:-1], KEY + "A", KEY + "\n", "MK_" + "A" * 43, "mk_" + "+" * 43, "é" * 46]
)
def test_what_is_no_api_key_is_not_looked_for(text):
    with refused(Unauthenticated, "credential.malformed"):
        operator.api_key_hash(text)


@pytest.mark.parametrize("kept", ["", KEY, "sha256:", "sha256:" + "0" * 64, operator.api_key_hash(KEY)[7:]])
def test_nothing_but_the_hash_in_its_own_form_is_compared_with(kept):
    with refused(Unauthenticated, "credential.unknown"):
        operator.hold_api_key(KEY, kept)
