"""The command line of replay and diff, on a real folder; and the auditors' page, whose examples are run."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3

import pytest

from magistrate import cli
from magistrate.cli import replaying, say
from magistrate.cli.impact_words import NOTHING
from magistrate.core import canonical
from magistrate.core.errors import Conflict
from magistrate.core.replay import Finding
from magistrate.engine import certifying
from magistrate.engine import replaying as engine
from magistrate.keys import pins
from tests.api import real
from tests.api.house import ORIGIN, redemption
from tests.policy import trees
from tests.policy.trees import packed, unpacked
from tests.support import reference

PAGE = reference.ROOT / "docs" / "auditors.md"


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A folder with a few decisions, and a candidate that lets go of one rule."""
    root = tmp_path_factory.mktemp("cli")

    async def live():
        async with real.opened(root) as home:
            for _ in range(3):
                said = await home.intent()
            await home.intent(action="note.ask")
            await home.intent(action="note.burn")
            await home.call("bot", "POST", "/v1/executions", redemption(said["warrant"]))

    asyncio.run(live())
    files = unpacked((root / "bundle.tar.gz").read_bytes())
    manifest = json.loads(files["/.manifest"])
    manifest["metadata"]["sequence"], manifest["revision"] = 2, "2"
    small = files["/magistrate/small/small.rego"].replace(b'default outcome := "deny"', b'default outcome := "allow"')
    files |= {"/.manifest": json.dumps(manifest).encode(), "/magistrate/small/small.rego": small}
    (root / "candidate.tar.gz").write_bytes(packed(files))
    return root


@pytest.fixture
def root(lived, tmp_path, monkeypatch):
    for name in ("data", "state"):
        shutil.copytree(lived / name, tmp_path / name)
    shutil.copy(lived / "candidate.tar.gz", tmp_path)
    for path in (tmp_path / "state").iterdir():  # what lies outside the data folder is named by its path
        old, new = (
            certifying.hashlib.sha256(str((at / "data").resolve()).encode()).hexdigest()[:32]
            for at in (lived, tmp_path)
        )
        path.rename(path.with_name(path.name.replace(old, new)))
    binary = real.binary()
    for name, value in {
        "MAGISTRATE_DATA": tmp_path / "data",
        "MAGISTRATE_STATE": tmp_path / "state",
        "MAGISTRATE_CONFIG": tmp_path / "config",
        "MAGISTRATE_OPA": binary.path,
        "MAGISTRATE_OPA_SHA256": binary.sha256,
        "MAGISTRATE_OPA_CACHE": tmp_path / "cache",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir(mode=0o700)
    return tmp_path


def pin(root):
    lock = certifying.kek_of(root / "data", root / "state")
    for role in ("checkpoint", "policy"):
        key = certifying.files.load(root / "data" / "keys", role, lock).signer
        pins.pin(root / "config" / "pins", pins.export(ORIGIN, role, key.public), key.key_id)


def run(capsys, monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["magistrate", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr()


def test_a_replay_leaves_a_certificate_that_needs_only_itself_and_a_pin(root, capsys, monkeypatch):
    code, said = run(capsys, monkeypatch, "replay", "--out", "c.json", "--json")
    assert code == say.DONE, said.err
    assert json.loads(said.out) == json.loads((root / "c.json").read_bytes())
    code, said = run(capsys, monkeypatch, "replay", "--verify", "c.json")
    assert (code, "[key.unpinned]" in said.err) == (say.FAILED, True)
    pin(root)
    shutil.rmtree(root / "data")
    code, said = run(capsys, monkeypatch, "replay", "--verify", "c.json")
    assert code == say.DONE
    assert said.out.endswith("IDENTICAL\n")
    raw = (root / "c.json").read_bytes()
    (root / "c.json").write_bytes(raw.replace(b'"identical":', b'"identical":1', 1))
    code, said = run(capsys, monkeypatch, "replay", "--verify", "c.json")
    assert (code, "[certificate.not_authentic]" in said.err) == (say.FAILED, True)


def test_an_authentic_certificate_that_found_something_is_no_pass(root, capsys, monkeypatch):
    pin(root)
    code, _ = run(capsys, monkeypatch, "replay", "--bundle", "candidate.tar.gz", "--out", "c.json")
    assert code == say.FAILED
    code, said = run(capsys, monkeypatch, "replay", "--verify", "c.json")
    assert code == say.FAILED
    assert "authentic" in said.err
    assert "FAIL replay.answer_differs 1" in said.out


def test_a_changed_answer_is_named_on_stderr_and_in_the_certificate(root, capsys, monkeypatch):
    conn = sqlite3.connect(root / "data" / "ledger.db")
    conn.execute("DROP TRIGGER IF EXISTS bodies_kept")
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    seq, body = conn.execute(
        'SELECT seq, body FROM bodies WHERE instr(body, \'"outcome":"deny"\') > 0 ORDER BY seq DESC'
    ).fetchone()
    conn.execute(
        "UPDATE bodies SET body = ? WHERE seq = ?", (body.replace(b'"outcome":"deny"', b'"outcome":"allow"'), seq)
    )
    conn.commit()
    conn.close()
    code, said = run(capsys, monkeypatch, "replay", "--json")
    assert code == say.FAILED
    assert f"replay.answer_changed entry {seq} decision /asked/0/answer/standing/outcome" in said.err
    first = json.loads(said.out)["first_difference"]
    assert (first["entry"], first["recorded"], first["now"]) == (seq, '"deny"', '"allow"')


def test_without_its_keys_a_copy_is_replayed_but_nothing_is_signed(root, capsys, monkeypatch):
    pin(root)
    shutil.rmtree(root / "data" / "keys")
    code, said = run(capsys, monkeypatch, "replay", "--json")
    assert (code, json.loads(said.out)["signature"]) == (say.DONE, "")
    assert "not signed" in said.err
    code, said = run(capsys, monkeypatch, "replay", "--out", "c.json")
    assert code == say.AWAY
    assert not (root / "c.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("replay --since yesterday", say.USAGE, "[input.time]"),
        ("replay --bundle gone.tar.gz", say.USAGE, "[input.file]"),
        ("replay --bundle sha256:" + "0" * 64, say.UNEXPECTED, "[bundle.unknown]"),
        ("replay --data nowhere", say.UNEXPECTED, "[ledger.absent]"),
        ("replay --verify candidate.tar.gz", say.USAGE, "[input."),
        ("policy diff candidate.tar.gz candidate.tar.gz --format pdf", say.USAGE, "--format"),
        ("policy diff candidate.tar.gz gone.tar.gz", say.USAGE, "[input.file]"),
        ("policy diff candidate.tar.gz recorded", say.USAGE, "[input.bundle]"),
        ("replay --format html", say.USAGE, "--bundle"),
        ("replay --accept a.large", say.USAGE, "--bundle"),
        ("replay --bundle candidate.tar.gz --format pdf", say.USAGE, "--format"),
    ],
)
def test_mistakes(root, capsys, monkeypatch, words, code, error):
    found, said = run(capsys, monkeypatch, *words.split())
    assert (found, error in said.err) == (code, True), said.err


@pytest.mark.parametrize("words", ["replay --bundle bad", "policy diff active bad", "policy diff bad active"])
def test_a_folder_that_does_not_build_fails_here_as_its_check_does(root, capsys, monkeypatch, words):
    trees.tree(root / "bad", {"policies/refunds/refunds.rego": trees.POLICY + "\n_x if nosuch\n"})
    code, said = run(capsys, monkeypatch, *words.split())
    line = trees.POLICY.count("\n") + 2
    told = f"error: policies/refunds/refunds.rego:{line}: rego_unsafe_var_error: var nosuch is unsafe [gate.compile]"
    assert (code, said.err.splitlines()[0]) == (say.FAILED, told)


@pytest.mark.parametrize(("raw", "why"), [(b"", "the gzip file is cut short"), (b"PK", "not a gzip file")])
def test_a_file_that_is_no_bundle_fails_here_as_its_check_does(root, capsys, monkeypatch, raw, why):
    (root / "cut.tar.gz").write_bytes(raw)
    code, said = run(capsys, monkeypatch, "policy", "diff", "recorded", "cut.tar.gz")
    assert (code, said.err.splitlines()[0]) == (say.FAILED, f"error: {why} [bundle.archive]")


def test_a_loosening_is_exit_5_until_it_is_accepted_by_name(root, capsys, monkeypatch):
    diff = ("policy", "diff", real.digest(), "candidate.tar.gz")
    code, said = run(capsys, monkeypatch, *diff)
    assert code == say.FAILED
    assert "LOOSENED 1" in said.out
    name = re.search(r"--accept (\S+)", said.out)[1]
    code, _ = run(capsys, monkeypatch, *diff, "--accept", name)
    assert code == say.DONE
    code, said = run(capsys, monkeypatch, *diff, "--accept", "something.else")
    assert code == say.FAILED
    assert "nothing here is because of something.else" in said.err
    code, said = run(capsys, monkeypatch, "policy", "diff", "candidate.tar.gz", real.digest(), "--format", "json")
    assert code == say.DONE
    assert json.loads(said.out)["tightened"] == 1


def test_a_replay_of_a_bundle_shows_what_moved_and_signs_what_was_accepted(root, capsys, monkeypatch):
    pin(root)
    ask = ("replay", "--bundle", "candidate.tar.gz", "--out", "c.json")

    code, said = run(capsys, monkeypatch, *ask)
    assert code == say.FAILED
    assert "asked of B; A is the answers on record" in said.out
    assert re.search(r"^was deny +1 +0 +0$", said.out, re.MULTILINE), said.out
    name = re.search(r"--accept (\S+)", said.out)[1]
    assert f"LOOSENED 1  ← {name}" in said.out

    code, said = run(capsys, monkeypatch, *ask, "--accept", name, "--accept", "something.else")
    assert code == say.DONE, said.err
    assert said.out.splitlines()[-1] == "1 loosened, all accepted by name"
    assert "nothing here is because of something.else" in said.err
    code, said = run(capsys, monkeypatch, "replay", "--verify", "c.json")
    assert code == say.DONE
    assert f"LOOSENED 1; accepted by name: something.else, {name}" in said.out
    assert said.out.splitlines()[-1] == "LOOSER, AND ACCEPTED"


def test_the_impact_of_a_replay_has_every_form_beside_its_certificate(root, capsys, monkeypatch):
    ask = ("replay", "--bundle", "candidate.tar.gz")
    _, said = run(capsys, monkeypatch, *ask, "--json")
    both = json.loads(said.out)
    assert both["certificate"]["impact"] == [
        {name: both["impact"][name] for name in ("loosened", "tightened", "other", "uncovered", "accepted")}
    ]
    for form, begin in (("markdown", "### "), ("html", "<!doctype html>"), ("sarif", "{")):
        code, said = run(capsys, monkeypatch, *ask, "--format", form)
        assert (code, said.out.startswith(begin)) == (say.FAILED, True)
        assert "DIFFERENT" in said.err


def test_the_answers_on_record_are_a_side_of_a_comparison(root, capsys, monkeypatch):
    code, said = run(capsys, monkeypatch, "policy", "diff", "recorded", "candidate.tar.gz", "--json")
    alone = json.loads(said.out)
    assert (code, alone["was"], alone["loosened"]) == (say.FAILED, "recorded", 1)
    code, said = run(capsys, monkeypatch, "policy", "diff", real.digest(), "candidate.tar.gz", "--format", "json")
    assert json.loads(said.out) | {"was": ""} == alone | {"was": ""}


def test_a_comparison_of_nothing_fails_and_whoever_reads_no_form_is_told_why(root, capsys, monkeypatch):
    diff = ("policy", "diff", "recorded", "candidate.tar.gz")
    code, said = run(capsys, monkeypatch, *diff, "--since", "2100-01-01T00:00:00Z")
    assert (code, said.out.splitlines()[-1]) == (say.FAILED, NOTHING)
    code, said = run(capsys, monkeypatch, *diff, "--format", "html", "--out", "impact.html")
    assert (code, "1 loosened, 1 of them not accepted" in said.err) == (say.FAILED, True)


def test_what_moved_before_a_replay_was_broken_off_is_not_made_up(root, capsys, monkeypatch):
    monkeypatch.setattr(engine, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(engine, "TELL_SECONDS", 0.0)
    ask = ("replay", "--bundle", "candidate.tar.gz", "--resume", "replay.state")
    code, said = run(capsys, monkeypatch, *ask[:3], "--json")
    at = json.loads(said.out)["certificate"]["range"]["end"]

    def stop():
        def tell(progress):
            if progress.entry == at:
                raise Conflict("test.stopped", "stopped")

        return tell

    with monkeypatch.context() as stopped:
        stopped.setattr(replaying, "watcher", stop)
        code, _ = run(capsys, monkeypatch, *ask)
        assert code == say.CONFLICT
    code, said = run(capsys, monkeypatch, *ask, "--json", "--accept", "nothing.at.all")

    assert code == say.FAILED
    both = json.loads(said.out)
    assert (both["impact"], both["certificate"]["impact"], both["certificate"]["counts"]["different"]) == (None, [], 1)
    assert "not known what moved" in said.err


def test_a_certificate_and_its_findings_never_move_the_cursor(root, capsys, monkeypatch):
    _, said = run(capsys, monkeypatch, "replay", "--json")
    document = json.loads(said.out)
    evil = "d\x1b[1A\x1b[2K\rIDENTICAL"
    first = dict.fromkeys(("code", "leaf", "document", "pointer", "recorded", "now"), evil)
    document |= {
        "origin": evil,
        "bundle": evil,
        "zone": evil,
        "checked": [evil],
        "first_difference": {**first, "entry": 1},
    }
    document["counts"]["findings"] = {evil: 1}
    assert all(line.isprintable() for line in replaying.told(document))
    replaying._tell_finding(Finding(evil, 1, evil, evil, evil, evil))
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_nothing_passes_while_part_of_the_record_was_changed(root, capsys, monkeypatch):
    diff = ("policy", "diff", "candidate.tar.gz", real.digest())
    code, said = run(capsys, monkeypatch, *diff)
    assert (code, said.out.splitlines()[-1]) == (say.DONE, "nothing got looser")
    conn = sqlite3.connect(root / "data" / "ledger.db", isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    conn.execute(
        "UPDATE bodies SET salt = zeroblob(32) WHERE seq = (SELECT max(seq) FROM entries WHERE kind = 'decision')"
    )
    conn.close()
    code, said = run(capsys, monkeypatch, *diff)
    assert code == say.FAILED
    assert said.out.splitlines()[-1].startswith("NOT COMPARED: 1,")


def test_another_opa_is_a_finding_unless_it_was_named_on_purpose(root, capsys, monkeypatch):
    other = shutil.copy(real.binary().path, root / "opa")
    with other.open("ab") as file:
        file.write(b"\0")
    code, said = run(capsys, monkeypatch, "replay", "--opa", str(other), "--json")
    assert code == say.DONE, said.err
    made = json.loads(said.out)
    assert "other-opa" in made["checked"]
    assert made["opa"]["sha256"] != f"sha256:{real.binary().sha256}"
    monkeypatch.setenv("MAGISTRATE_OPA", str(other))
    monkeypatch.setenv("MAGISTRATE_OPA_SHA256", made["opa"]["sha256"])
    code, said = run(capsys, monkeypatch, "replay", "--json")
    assert code == say.FAILED
    counts = json.loads(said.out)["counts"]
    assert counts["findings"] == {"replay.opa_binary": counts["questions"]}
    code, said = run(capsys, monkeypatch, "replay", "--opa", "0.0.1")
    assert (code, "[opa.missing]" in said.err) == (say.AWAY, True)


def examples():
    """The commands of the page that need no service."""
    blocks = re.findall(r"```sh\n(.+?)```", PAGE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith(("magistrate replay", "magistrate policy diff"))]


def test_the_auditors_page_runs(root, capsys, monkeypatch):
    pin(root)
    found = examples()
    assert len(found) == 13
    for words in found:
        candidate = "candidate.tar.gz" in words
        said = [real.digest() if word == "DIGEST" else word for word in words]
        code, told = run(capsys, monkeypatch, *said)
        assert code == (say.FAILED if candidate else say.DONE), (words, told.err)
    assert (root / "impact.html").read_text().startswith("<!doctype html>")
    assert canonical.load_canonical((root / "certificate.json").read_bytes())


def test_the_page_knows_every_finding():
    from magistrate.core.replay import FINDINGS

    text = PAGE.read_text()
    assert all(f"`{code}`" in text for code in FINDINGS)
    assert set(re.findall(r"`((?:replay|ledger)\.[a-z_]+)`", text)) == set(FINDINGS)
