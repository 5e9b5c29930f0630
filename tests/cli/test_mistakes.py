"""Mistakes at the command line: one `error:`, one `hint:` that can be run, the exit code of the kind, never a trace."""

from __future__ import annotations

import pytest

from magistrate import cli
from magistrate.cli import say
from magistrate.keys.operator import Profile, save

AGENT = {"url": "http://127.0.0.1:1", "origin": "test/cli", "type": "agent", "id": "bot", "api_key": "mk_" + "A" * 43}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Folders of our own, an agent's profile, and files that are not what they should be."""
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MAGISTRATE_{name}", str(tmp_path / name.lower()))
    for name in ("URL", "PROFILE"):
        monkeypatch.delenv(f"MAGISTRATE_{name}", raising=False)
    people = tmp_path / "config"
    people.mkdir(mode=0o700)
    save(people, "bot", Profile.model_validate({**AGENT, "key_file": "", "genesis": ""}))
    (tmp_path / "twice.json").write_text('{"a": 1, "a": 2}')
    (tmp_path / "cut.json").write_text('{"a": ')
    (tmp_path / "list.json").write_text("[1]")
    monkeypatch.chdir(tmp_path)


def run(capsys, monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["magistrate", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("nonsense", say.USAGE, "nonsense"),
        ("approvals deny int-x", say.USAGE, "--reason"),
        ("ledger prove twelve", say.USAGE, "entry"),
        ("ledger rebuild", say.USAGE, "--check"),
        ("intent submit gone.json", say.USAGE, "[input.file]"),
        ("intent submit .", say.USAGE, "[input.file]"),
        ("intent submit twice.json", say.USAGE, "[input.duplicate_key]"),
        ("intent submit cut.json", say.USAGE, "[input.syntax]"),
        ("execute gone.json", say.USAGE, "[input.file]"),
        ("execute list.json", say.USAGE, "[input.shape]"),
        ("warrant verify gone.json", say.USAGE, "[input.file]"),
        ("warrant verify .", say.USAGE, "[input.file]"),
        ("policy check gone.tar.gz", say.USAGE, "[input.file]"),
        ("policy check cut.json", say.FAILED, "[bundle.archive]"),
        ("keys pin gone.json --fingerprint x", say.USAGE, "[input.file]"),
        ("keys pin cut.json --fingerprint x", say.USAGE, "[key.malformed]"),
        ("up --bundle gone.tar.gz", say.USAGE, "[input.file]"),
        ("operators suspend omar --reason r", say.AWAY, "[profile.operator]"),
        ("keys rotate --role bundle", say.AWAY, "[profile.operator]"),
        ("--profile nobody intent ls", say.AWAY, "[profile.missing]"),
        ("intent ls", say.AWAY, "[service.unreachable]"),
        ("status", say.AWAY, "[service.none]"),
        ("ledger verify", say.UNEXPECTED, "[ledger.absent]"),
        ("ledger verify --genesis foo", say.USAGE, "[input.digest]"),
    ],
)
def test_a_mistake_is_an_error_and_a_hint(words, code, error, capsys, monkeypatch):
    ended, said = run(capsys, monkeypatch, *words.split())
    lines = said.err.splitlines()
    assert ended == code
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[-1].startswith("hint: ")
    assert lines[-1].split()[1] in ("magistrate", "ls")
    assert not said.out


def test_what_nobody_foresaw_is_one_line_that_says_where(capsys, monkeypatch):
    def broken():
        raise KeyError("scope")

    monkeypatch.setattr("magistrate.cli.places.data", broken)
    ended, said = run(capsys, monkeypatch, "ledger", "verify")
    assert ended == say.UNEXPECTED
    assert said.err.startswith("error: KeyError: 'scope' at ")
    assert "test_mistakes.py:" in said.err
    assert "Traceback" not in said.err


def test_a_group_without_a_verb_shows_its_help(capsys, monkeypatch):
    ended, said = run(capsys, monkeypatch, "intent")
    assert ended == say.USAGE
    assert said.err.startswith("Usage: ")
    assert "submit" in said.err
