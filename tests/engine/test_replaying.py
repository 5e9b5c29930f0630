"""Replaying a real record: the same bytes, or a finding with its own code that says which and where."""

import base64
import json
import shutil
import sqlite3

import pytest
import pytest_asyncio

from magistrate.core import canonical, checkpoint
from magistrate.core.entry import body_commit
from magistrate.core.errors import Broken, Conflict, Forged, MagistrateError, Malformed
from magistrate.core.merkle import Frontier, leaf_hash
from magistrate.core.replay import FINDINGS
from magistrate.core.values import unix
from magistrate.engine import arming, certifying, replaying
from magistrate.engine.replay_state import State, StateFile
from magistrate.engine.replaying import Order
from magistrate.keys import pins
from magistrate.policy.archive import Archive
from magistrate.policy.bundle import Bundle
from tests.policy import trees
from tests.support import world as worlds
from tests.support.world import CASCADE, DEPLOY, RESTART, SQL, refund


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lived(tmp_path_factory, ground):
    """A folder with a day's work in it: every document asked, some of it refused."""
    root = tmp_path_factory.mktemp("lived") / "world"
    async with worlds.live(root, ground) as world:
        await world.done(RESTART)
        await world.done(DEPLOY)
        await world.propose(SQL)
        await world.propose(refund(100_000))
        await world.propose({**RESTART, "action": "service.no_such"})
        warrant = await world.warrant(RESTART)
        with pytest.raises(MagistrateError):
            await world.redeem(warrant, by=world.agent("other"))
        await world.done(CASCADE)  # it deviates, and its agent is quarantined
        assert world.size > 40
    return root


@pytest.fixture
def root(lived, tmp_path):
    """A copy of it, which a test may spoil."""
    worlds.image(lived, tmp_path / "world")
    for path in (tmp_path / "world" / "data" / "bundles").iterdir():
        path.chmod(0o644)
    return tmp_path / "world"


def record(root, *, pinned=True, opas=1):
    folder = root / "pins"
    if pinned:
        key = certifying.files.load(
            root / "data" / "keys", "checkpoint", certifying.kek_of(root / "data", root / "state")
        )
        pins.pin(folder, pins.export(worlds.ORIGIN, "checkpoint", key.signer.public), key.signer.key_id)
    return certifying.record_of(root / "data", root / "state", worlds.binary(), folder, opas=opas)


async def replay(root, order=None, *, pinned=True, **more):
    return await replaying.replay(record(root, pinned=pinned), order or Order(), **more)


def ledger(root):
    """The file, as somebody holds it who stops at nothing."""
    conn = sqlite3.connect(root / "data" / "ledger.db", isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    return conn


def entries(root, kind):
    conn = ledger(root)
    sql = "SELECT e.seq, e.header, b.salt, b.body FROM entries e JOIN bodies b ON b.seq = e.seq WHERE e.kind = ? ORDER BY e.seq"
    found = conn.execute(sql, (kind,)).fetchall()
    conn.close()
    return found


def put_body(root, seq, body):
    conn = ledger(root)
    conn.execute("UPDATE bodies SET body = ? WHERE seq = ?", (body, seq))
    conn.close()


def recommitted(header, salt, body):
    """A header that commits to another body."""
    said = json.loads(header)
    said["body_commit"] = body_commit(salt, body)
    return canonical.canonical(said)


def decided(root, outcome):
    """A decision entry with this outcome, and its body."""
    for seq, header, salt, body in entries(root, "decision"):
        said = json.loads(body)
        if said["asked"][0]["answer"].get("standing", {}).get("outcome") == outcome:
            return seq, header, salt, said
    raise AssertionError(outcome)


def only(found, code):
    assert set(found.said["counts"]["findings"]) == {code}, found.said["counts"]
    return found.findings[0]


# -- sound


async def test_an_untouched_record_gets_the_same_bytes_for_every_document(root):
    told = []
    found = await replay(root, tell=lambda progress: told.append(progress.questions))
    counts = found.said["counts"]
    assert found.clean, found.findings
    assert counts["questions"] == counts["identical"] > 30
    documents = {
        row["document"]
        for kind in ("decision", "admission", "verification", "refusal")
        for _, _, _, body in entries(root, kind)
        for row in json.loads(body)["asked"]
    }
    assert documents == {"decision", "approval", "admission", "verification"}
    assert found.said["checked"] == ["checkpoint", "mark", "entries", "bundles", "answers"]
    assert found.said["tree"]["pinned"]


async def test_another_time_zone_changes_nothing(root):
    found = await replay(root, Order(zone="Pacific/Kiritimati"))
    assert found.clean
    assert found.said["zone"] == "Pacific/Kiritimati"


async def test_a_range_and_a_limit_are_kept_and_a_range_without_questions_is_no_pass(root):
    whole = (await replay(root)).said
    some = (await replay(root, Order(limit=5))).said
    assert 5 <= some["counts"]["questions"] <= 7  # an entry is not divided
    assert some["range"]["end"] < whole["range"]["end"]
    none = await replay(root, Order(since=worlds.NOON + 86_400 * 365))
    assert not none.clean
    assert only(none, "replay.nothing_asked")
    early = await replay(root, Order(until=worlds.NOON - 86_400))
    assert only(early, "replay.nothing_asked")


async def test_it_runs_beside_a_service(world):
    await world.done(RESTART)
    found = await replaying.replay(record(world.root), Order())
    await world.done(RESTART)
    assert found.clean


# -- what stands in the way


async def test_a_missing_bundle_is_a_finding(root):
    digest = Archive(root / "data" / "bundles", worlds.binary()).digests()[0]
    (root / "data" / "bundles" / f"{digest[7:]}.tar.gz").unlink()
    found = await replay(root)
    assert "replay.bundle_missing" in found.said["counts"]["findings"]
    assert found.said["counts"]["identical"] == 0
    assert not found.clean


async def test_of_many_findings_some_are_told_and_all_are_counted(root):
    for path in (root / "data" / "bundles").glob("*.tar.gz"):
        path.unlink()
    found = await replay(root)
    counts = found.said["counts"]
    assert counts["findings"] == {"replay.bundle_missing": counts["questions"]}
    assert len(found.findings) == replaying.KEPT < counts["questions"]


async def test_a_changed_bundle_file_and_changed_data_in_it_are_two_findings(root, monkeypatch):
    digest = Archive(root / "data" / "bundles", worlds.binary()).digests()[0]
    path = root / "data" / "bundles" / f"{digest[7:]}.tar.gz"
    raw = path.read_bytes()
    path.write_bytes(raw[:2000] + bytes([raw[2000] ^ 1]) + raw[2001:])
    damaged = only(await replay(root), "replay.bundle_changed")
    assert path.name in damaged.detail
    files = trees.unpacked(raw)
    data = json.loads(files["/data.json"])
    policy, (name, limit) = next(
        (policy, next(iter(said["limits"].items()))) for policy, said in data["policies"].items() if said.get("limits")
    )
    data["policies"][policy]["limits"][name] = [limit]
    path.write_bytes(trees.packed({**files, "/data.json": json.dumps(data).encode()}))
    monkeypatch.setattr(certifying, "reference_in", lambda _: lambda _: Bundle.read(raw))
    other = only(await replay(root), "replay.bundle_data_changed")
    assert other.pointer == f"/data.json#/policies/{policy}/limits/{name}"
    assert (other.recorded, other.now) == (canonical.canonical(limit).decode(), canonical.canonical([limit]).decode())


async def test_without_a_sound_copy_a_repacked_bundle_is_still_told_from_a_damaged_one(root, monkeypatch):
    digest = Archive(root / "data" / "bundles", worlds.binary()).digests()[0]
    path = root / "data" / "bundles" / f"{digest[7:]}.tar.gz"
    path.write_bytes(trees.packed())
    monkeypatch.setattr(certifying, "reference_in", lambda _: lambda _: None)
    assert only(await replay(root), "replay.bundle_data_changed")


async def test_an_erased_body_is_a_finding(root):
    seq, *_ = decided(root, "allow")
    conn = ledger(root)
    conn.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
    conn.close()
    assert only(await replay(root), "replay.body_erased").entry == seq


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("version", "9.9.9", "replay.opa_version"),
        ("sha256", "sha256:" + "0" * 64, "replay.opa_binary"),
    ],
)
async def test_another_opa_than_recorded_is_a_finding_though_the_answer_is_the_same(root, field, value, code):
    seq, _, _, said = decided(root, "allow")
    said["asked"][0]["opa"][field] = value
    rebuilt(root, {seq: canonical.canonical(said)})
    found = await replaying.replay(record(root), Order())
    counts = found.said["counts"]
    assert counts["findings"][code] == 1
    assert counts["identical"] == counts["questions"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda row: row.update(document="oracle"), "replay.unknown_document"),
        (lambda row: row.update(strict=False), "replay.not_strict"),
        (lambda row: row.pop("bundle"), "replay.unreadable"),
        (lambda row: row.update(question={"contract": "x"}), "replay.answer_differs"),
    ],
)
async def test_what_cannot_be_asked_as_it_was_is_a_finding(root, change, code):
    seq, _, _, said = decided(root, "allow")
    change(said["asked"][0])
    rebuilt(root, {seq: canonical.canonical(said)})
    found = await replay(root)
    assert found.said["counts"]["findings"][code] == 1
    assert next(one for one in found.findings if one.code == code).entry == seq


# -- tampering


async def test_one_byte_of_a_stored_question_is_found_and_what_it_was(root):
    seq, _, _, said = decided(root, "allow")
    body = canonical.canonical(said)
    target = said["asked"][0]["question"]["intent"]["target"].encode()
    at = body.index(target, body.index(b'"question":'))
    put_body(root, seq, body[:at] + b"#" + body[at + 1 :])
    found = only(await replay(root), "replay.input_changed")
    assert (found.entry, found.document) == (seq, "decision")
    assert found.pointer.startswith("/asked/0/question/")
    assert found.recorded == json.dumps(target.decode())
    assert json.loads(found.now) != target.decode()


async def test_a_byte_that_makes_it_no_json_is_found_too(root):
    seq, _, _, said = decided(root, "allow")
    body = canonical.canonical(said)
    at = body.index(b':"', body.index(b'"question":{')) + 1
    put_body(root, seq, body[:at] + b"\x00" + body[at + 1 :])
    found = only(await replay(root), "replay.input_changed")
    assert (found.entry, found.pointer[:18]) == (seq, "/asked/0/question/")
    assert f"byte {at} " in found.detail


async def test_a_byte_beside_the_intent_is_found_by_the_commitment_alone(root):
    seq, _, _, said = decided(root, "allow")
    body = canonical.canonical(said)
    at = body.index(b'"minute_of_day":') + len(b'"minute_of_day":')
    put_body(root, seq, body[:at] + (b"1" if body[at : at + 1] != b"1" else b"2") + body[at + 1 :])
    found = only(await replay(root), "replay.input_changed")
    assert (found.entry, found.pointer) == (seq, "/asked/0/question/now/minute_of_day")
    assert json.loads(found.recorded) == said["asked"][0]["question"]["now"]["minute_of_day"]


async def test_more_than_a_byte_of_a_stored_question_is_found(root):
    seq, _, _, said = decided(root, "allow")
    said["asked"][0]["question"]["intent"]["target"] = "somewhere-else"
    put_body(root, seq, canonical.canonical(said))
    found = only(await replay(root), "replay.input_changed")
    assert (found.entry, found.pointer) == (seq, "/asked/0/question/intent/target")
    assert json.loads(found.now) == "somewhere-else"


async def test_a_question_changed_where_no_other_entry_knows_it_is_found(root):
    seq, _, _, said = decided(root, "allow")
    said["asked"][0]["question"]["installation"]["operators"] = 123_456
    put_body(root, seq, canonical.canonical(said))
    assert only(await replay(root), "replay.input_changed").entry == seq


async def test_a_changed_answer_is_found_and_given_back(root):
    seq, _, _, said = decided(root, "deny")
    recorded = said["asked"][0]["answer"]["standing"]["outcome"]
    said["asked"][0]["answer"]["standing"]["outcome"] = "allow"
    put_body(root, seq, canonical.canonical(said))
    found = only(await replay(root), "replay.answer_changed")
    assert (found.entry, found.document, found.pointer) == (seq, "decision", "/asked/0/answer/standing/outcome")
    assert (json.loads(found.recorded), json.loads(found.now)) == (recorded, "allow")


@pytest.mark.parametrize("copies_only", [False, True])
async def test_every_copy_of_an_answer_changed_is_a_changed_answer_too(root, copies_only):
    seq, _, _, said = decided(root, "deny")
    said["standing"]["outcome"] = "allow"
    if not copies_only:
        said["asked"][0]["answer"]["standing"]["outcome"] = "allow"
    put_body(root, seq, canonical.canonical(said))
    found = only(await replay(root), "replay.answer_changed")
    assert found.pointer == ("/standing/outcome" if copies_only else "/asked/0/answer/standing/outcome")
    assert (found.entry, found.recorded, found.now) == (seq, '"deny"', '"allow"')


async def test_a_changed_header_is_found(root):
    seq, header, *_ = decided(root, "allow")
    conn = ledger(root)
    conn.execute("UPDATE entries SET header = ? WHERE seq = ?", (header.replace(b'"decision"', b'"decizion"'), seq))
    conn.close()
    assert only(await replay(root), "replay.header_changed").entry == seq


async def test_whoever_commits_anew_in_one_entry_is_found_by_the_tree(root):
    seq, header, salt, said = decided(root, "deny")
    said["asked"][0]["answer"]["standing"]["outcome"] = "allow"
    body = canonical.canonical(said)
    fresh = recommitted(header, salt, body)
    conn = ledger(root)
    conn.execute("UPDATE entries SET header = ?, leaf = ? WHERE seq = ?", (fresh, leaf_hash(fresh), seq))
    conn.execute("UPDATE bodies SET body = ? WHERE seq = ?", (body, seq))
    conn.close()
    found = await replay(root)
    assert set(found.said["counts"]["findings"]) == {"replay.tree_changed", "replay.answer_differs"}
    tree, answer = sorted(found.findings, key=lambda one: one.code, reverse=True)
    assert tree.entry == seq & ~1
    assert answer.entry == seq


def rebuilt(root, bodies):
    """What an attacker makes who writes the whole tree anew, but cannot sign."""
    conn = ledger(root)
    frontier, leaves = Frontier(), {}
    conn.execute("DELETE FROM nodes")
    notes = conn.execute("SELECT size, note FROM checkpoints").fetchall()
    roots = {}
    for seq, header, salt in conn.execute(
        "SELECT e.seq, e.header, b.salt FROM entries e LEFT JOIN bodies b ON b.seq = e.seq ORDER BY e.seq"
    ).fetchall():
        said = json.loads(header)
        said["parents"] = [leaves.get(parent, parent) for parent in said["parents"]]
        if seq in bodies:
            said["body_commit"] = body_commit(salt, bodies[seq])
            conn.execute("UPDATE bodies SET body = ? WHERE seq = ?", (bodies[seq], seq))
        fresh = canonical.canonical(said)
        leaves["sha256:" + leaf_hash(header).hex()] = "sha256:" + leaf_hash(fresh).hex()
        conn.execute("UPDATE entries SET header = ?, leaf = ? WHERE seq = ?", (fresh, leaf_hash(fresh), seq))
        frontier, made = frontier.append(leaf_hash(fresh))
        conn.executemany("INSERT INTO nodes (level, idx, hash) VALUES (?, ?, ?)", made[1:])
        roots[frontier.size] = frontier.root()
    for size, note in notes:
        lines = note.split("\n")
        lines[2] = base64.b64encode(roots[size]).decode()
        conn.execute("UPDATE checkpoints SET note = ? WHERE size = ?", ("\n".join(lines), size))
    conn.close()
    for mark in (root / "state").glob("*.mark"):
        mark.write_bytes(
            canonical.canonical({"origin": worlds.ORIGIN, "root": frontier.root().hex(), "size": frontier.size}) + b"\n"
        )


@pytest.mark.parametrize("pinned", [True, False])
async def test_whoever_rebuilds_the_tree_cannot_sign_it(root, pinned):
    seq, _, _, said = decided(root, "deny")
    said["asked"][0]["answer"]["standing"]["outcome"] = "allow"
    rebuilt(root, {seq: canonical.canonical(said)})
    found = await replay(root, pinned=pinned)
    assert set(found.said["counts"]["findings"]) == {"replay.checkpoint", "replay.answer_differs"}
    assert found.said["tree"]["signed_by"] == ""


async def test_a_rewritten_history_that_agrees_with_itself_still_fails_by_its_signature(root):
    seq, _, _, said = decided(root, "deny")
    del said["asked"]
    rebuilt(root, {seq: canonical.canonical(said)})
    assert only(await replay(root), "replay.checkpoint")


async def test_with_no_key_at_all_nothing_passes(root):
    shutil.rmtree(root / "data" / "keys")
    found = await replay(root, pinned=False)
    assert only(found, "replay.unpinned")
    assert not found.clean


async def test_a_tail_that_was_cut_is_found_by_the_mark(root):
    conn = ledger(root)
    size = conn.execute("SELECT max(seq) + 1 FROM entries").fetchone()[0]
    last = conn.execute("SELECT max(size) FROM checkpoints WHERE size < ?", (size,)).fetchone()[0]
    conn.execute("DELETE FROM checkpoints WHERE size > ?", (last,))
    conn.execute("DELETE FROM entries WHERE seq >= ?", (last,))
    conn.execute("DELETE FROM bodies WHERE seq >= ?", (last,))
    conn.execute("DELETE FROM nodes WHERE (idx + 1) * (1 << level) > ?", (last,))
    conn.close()
    assert only(await replay(root), "ledger.behind")


async def test_a_tail_that_was_cut_beneath_its_checkpoint_is_found_without_a_mark(root):
    for mark in (root / "state").glob("*.mark"):
        mark.unlink()
    conn = ledger(root)
    size = conn.execute("SELECT max(seq) + 1 FROM entries").fetchone()[0]
    conn.execute("DELETE FROM entries WHERE seq >= ?", (size - 3,))
    conn.execute("DELETE FROM bodies WHERE seq >= ?", (size - 3,))
    conn.close()
    found = await replay(root, Order(since=1))
    assert "ledger.behind" in found.said["counts"]["findings"]
    assert not found.clean


async def test_another_history_than_the_mark_remembers_is_found(root):
    (mark,) = (root / "state").glob("*.mark")
    said = json.loads(mark.read_bytes())
    mark.write_bytes(canonical.canonical({**said, "root": "ab" * 32}) + b"\n")
    assert only(await replay(root), "ledger.forked")


def rewritten(root, bodies):
    """The same, by somebody who leaves the signed checkpoints and the mark as they are."""
    kept = [(mark, mark.read_bytes()) for mark in (root / "state").glob("*.mark")]
    conn = ledger(root)
    notes = conn.execute("SELECT note, size FROM checkpoints").fetchall()
    rebuilt(root, bodies)
    conn.executemany("UPDATE checkpoints SET note = ? WHERE size = ?", notes)
    conn.close()
    for mark, raw in kept:
        mark.write_bytes(raw)


async def test_a_limited_replay_holds_what_it_read_to_the_signed_head_too(root):
    whole = await replay(root)
    assert whole.clean
    few = Order(limit=whole.said["counts"]["questions"] - 2)
    sound = await replay(root, few)
    assert sound.clean
    assert sound.said["range"]["end"] < whole.said["range"]["end"]
    assert "entries" in sound.said["checked"]
    seq, _, _, said = decided(root, "deny")
    assert seq < sound.said["range"]["end"] - 2
    del said["asked"]  # a whole denial vanishes from the record
    said["standing"]["outcome"] = "allow"
    rewritten(root, {seq: canonical.canonical(said)})
    found = await replay(root, few)
    assert "replay.tree_changed" in found.said["counts"]["findings"]
    assert "entries" not in found.said["checked"]
    assert not found.clean


async def test_what_was_not_checked_is_not_said_to_be(root):
    none = await replay(root, Order(until=worlds.NOON - 86_400))
    assert not {"bundles", "answers"} & set(none.said["checked"])


# -- the ends of a range


def times(root):
    conn = ledger(root)
    found = [unix(json.loads(raw)["at"]) for (raw,) in conn.execute("SELECT header FROM entries ORDER BY seq")]
    conn.close()
    return found


def redated(root, seq, at):
    conn = ledger(root)
    (raw,) = conn.execute("SELECT header FROM entries WHERE seq = ?", (seq,)).fetchone()
    fresh = canonical.canonical({**json.loads(raw), "at": at})
    conn.execute("UPDATE entries SET header = ? WHERE seq = ?", (fresh, seq))
    conn.close()
    return fresh


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two_days(tmp_path_factory, ground):
    """A folder in which something was done on each of two days."""
    root = tmp_path_factory.mktemp("two_days") / "world"
    async with worlds.live(root, ground) as world:
        world.time.go(86_400)
        await arming.check(world.house)
        for number in range(6):
            await world.propose(refund(5, f"A-{number}"))
    return root


@pytest.fixture
def days(two_days, tmp_path):
    worlds.image(two_days, tmp_path / "days")
    return tmp_path / "days"


@pytest.mark.parametrize("leaf", ["kept", "new"])
@pytest.mark.parametrize("side", ["since", "until"])
async def test_nobody_moves_the_ends_of_a_range_by_another_time_in_a_header(days, side, leaf):
    at = times(days)
    second = next(seq for seq, when in enumerate(at) if when >= at[0] + 80_000)
    probe = second if side == "since" else len(at) // 2  # both are looked at by the search
    order = Order(since=at[second]) if side == "since" else Order(until=at[-1])
    sound = await replay(days, order)
    assert sound.clean
    assert sound.said["range"]["first" if side == "since" else "end"] == (second if side == "since" else len(at))
    fresh = redated(days, probe, "2001-01-01T00:00:00Z" if side == "since" else "2099-01-01T00:00:00Z")
    if leaf == "new":
        conn = ledger(days)
        conn.execute("UPDATE entries SET leaf = ? WHERE seq = ?", (leaf_hash(fresh), probe))
        conn.close()
    found = await replay(days, order)
    assert not found.clean
    assert "replay.tree_changed" in found.said["counts"]["findings"]
    told = found.said["range"]
    assert told["first"] <= sound.said["range"]["first"]  # nothing was left out
    assert told["end"] >= sound.said["range"]["end"]


async def test_an_entry_that_is_gone_does_not_hide_the_range(days):
    at = times(days)
    conn = ledger(days)
    conn.execute("DELETE FROM entries WHERE seq = ?", (len(at) // 2,))
    conn.close()
    found = await replay(days, Order(since=at[-1]))
    assert "replay.tree_changed" in found.said["counts"]["findings"]


# -- on another bundle


async def test_a_candidate_is_asked_instead_of_each_recorded_bundle(root, tmp_path):
    def reword(folder):
        manifest = json.loads((folder / ".manifest").read_text())
        manifest["metadata"]["sequence"] += 1
        manifest["revision"] = str(manifest["metadata"]["sequence"])
        (folder / ".manifest").write_text(json.dumps(manifest))
        path = folder / "policies" / "deploys" / "deploys.rego"
        path.write_text(path.read_text().replace("A service changes", "A service is changed"))

    candidate = Bundle.read(worlds.variant(tmp_path / "rego", reword))
    found = await replay(root, Order(candidate=candidate))
    assert found.said["bundle"] == candidate.digest
    assert found.said["counts"]["different"] > 0
    first = found.said["first_difference"]
    assert first["code"] == "replay.answer_differs"
    assert json.loads(first["now"]) == "A service is changed"
    assert first["pointer"].startswith("/asked/0/answer/standing/reasons/")


# -- taking up again


async def test_what_was_broken_off_is_taken_up_and_comes_to_the_same(root, tmp_path, monkeypatch):
    whole = (await replay(root)).said["counts"]
    state = tmp_path / "state.json"
    monkeypatch.setattr(replaying, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(replaying, "TELL_SECONDS", 0.0)

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.entry > 30:
            raise Stopped

    with pytest.raises(Stopped):
        await replay(root, resume=state, tell=stop)
    said = json.loads(state.read_bytes())
    assert 20 < said["next"] < whole["entries"]
    monkeypatch.setattr(replaying, "SAVE_SECONDS", 5.0)
    asked = []
    found = await replay(root, resume=state, tell=lambda progress: asked.append(progress.questions))
    assert found.said["counts"] == whole
    assert "resumed" in found.said["checked"]
    assert asked[-1] < whole["questions"]
    assert not state.exists()


async def broken_off(root, state, monkeypatch, at=30):
    """A genuine state file over about the first entries."""

    def stop(progress):
        if progress.entry > at:
            raise RuntimeError

    with monkeypatch.context() as soon:
        soon.setattr(replaying, "SAVE_SECONDS", 0.0)
        soon.setattr(replaying, "TELL_SECONDS", 0.0)
        with pytest.raises(RuntimeError):
            await replay(root, resume=state, tell=stop)
    return state.read_bytes()


async def test_an_older_state_file_put_back_comes_to_the_same(root, tmp_path, monkeypatch):
    whole = (await replay(root)).said
    state = tmp_path / "state.json"
    older = await broken_off(root, state, monkeypatch, at=10)
    assert await broken_off(root, state, monkeypatch) != older
    state.write_bytes(older)

    found = (await replay(root, resume=state)).said

    same = ("range", "tree", "counts", "first_difference", "bundle", "opa")
    assert {name: found[name] for name in same} == {name: whole[name] for name in same}


async def test_a_state_file_of_another_history_with_the_same_beginning_is_refused(root, tmp_path, monkeypatch):
    """Both histories are signed by the installation: a ledger that was put back and went on another way."""
    state = tmp_path / "state.json"
    seq, _, _, said = decided(root, "allow")
    await broken_off(root, state, monkeypatch, at=seq + 2)
    del said["asked"]
    rebuilt(root, {seq: canonical.canonical(said)})
    key = certifying.files.load(root / "data" / "keys", "checkpoint", certifying.kek_of(root / "data", root / "state"))
    conn = ledger(root)
    for size, note in conn.execute("SELECT size, note FROM checkpoints").fetchall():
        point = checkpoint.read(note.rpartition("\n\n")[0] + "\n")
        fresh = checkpoint.signed(point, key.signer)
        conn.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (fresh, size))
    conn.close()
    assert (await replay(root)).clean

    with pytest.raises(Conflict, match=r"replay\.resume"):
        await replay(root, resume=state)


async def test_an_entry_written_anew_is_not_forgotten_by_taking_up(root, tmp_path, monkeypatch):
    """Nothing is kept beyond where the tree tells it; that is the entry itself, or the one that closes its node."""
    seq, header, salt, said = decided(root, "allow")
    body = canonical.canonical({**said, "asked": []})
    fresh = recommitted(header, salt, body)
    conn = ledger(root)
    conn.execute("UPDATE entries SET header = ?, leaf = ? WHERE seq = ?", (fresh, leaf_hash(fresh), seq))
    conn.execute("UPDATE bodies SET body = ? WHERE seq = ?", (body, seq))
    conn.close()
    state = tmp_path / "state.json"
    whole = (await replay(root)).said["counts"]
    await broken_off(root, state, monkeypatch, at=seq + 2)
    assert "replay.tree_changed" in whole["findings"]

    if json.loads(state.read_bytes())["next"] > seq:
        with pytest.raises(Conflict, match=r"replay\.resume"):
            await replay(root, resume=state)
    else:
        assert (await replay(root, resume=state)).said["counts"] == whole


@pytest.mark.parametrize("at", [0, 8])
async def test_a_node_that_was_changed_is_not_forgotten_by_taking_up(root, tmp_path, monkeypatch, at):
    """The entries are sound, and so is what is read after the break: the stored tree over the first ones is not."""
    conn = ledger(root)
    conn.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = ?", (at,))
    conn.close()
    whole = (await replay(root)).said["counts"]
    state = tmp_path / "state.json"
    await broken_off(root, state, monkeypatch)
    assert json.loads(state.read_bytes())["next"] <= 2 * at + 1

    found = await replay(root, resume=state)

    assert found.said["counts"] == whole
    assert (found.clean, found.said["counts"]["findings"]) == (False, {"replay.tree_changed": 1})


async def test_a_state_file_of_another_first_entry_is_refused(root, tmp_path):
    head = replaying.head_of(record(root).ledger, record(root).trust)
    state = tmp_path / "state.json"
    later = finished(root, head.size).model_copy(update={"first": 5})
    StateFile(state, record(root).seal).save(later)
    with pytest.raises(Conflict, match=r"replay\.resume"):
        await replay(root, resume=state)


@pytest.mark.parametrize("order", [Order(limit=3), Order(since=worlds.NOON), Order(zone="Asia/Tokyo")])
async def test_a_state_file_about_something_else_is_refused(root, tmp_path, monkeypatch, order):
    state = tmp_path / "state.json"
    monkeypatch.setattr(replaying, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(replaying, "TELL_SECONDS", 0.0)

    def stop(progress):
        if progress.entry > 5:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await replay(root, resume=state, tell=stop)
    with pytest.raises(Conflict) as no:
        await replay(root, order, resume=state)
    assert no.value.code == "replay.resume"
    sealing = StateFile(state, record(root).seal)
    said = json.loads(state.read_bytes())
    del said["seal"]
    sealing.save(State.model_validate_json(json.dumps({**said, "genesis": "sha256:" + "0" * 64})))
    with pytest.raises(Conflict):
        await replay(root, resume=state)
    state.write_bytes(b"{}")
    with pytest.raises(Malformed):
        await replay(root, resume=state)


def finished(root, size):
    """A state that says everything was asked, and was the same."""
    head = replaying.head_of(record(root).ledger, record(root).trust)
    counts = {"entries": size, "questions": 99, "identical": 99, "different": 0, "findings": {}}
    rest = {"kept": (), "lowest": (), "started": "2026-01-01T00:00:00Z"}
    order = Order().plain(worlds.binary())
    span = {"first": 0, "end": size, "next": size}
    return State(v=2, genesis=head.genesis, root=head.root, order=order, **span, **counts, **rest)


async def test_a_state_file_that_this_installation_did_not_write_is_refused(root, tmp_path):
    state = tmp_path / "state.json"
    made = finished(root, replaying.head_of(record(root).ledger, record(root).trust).size)
    for key in (b"", b"\x00" * 32, record(root).seal[::-1]):
        StateFile(state, key).save(made)
        with pytest.raises(Forged) as no:
            await replay(root, resume=state)
        assert no.value.code == "replay.resume_forged"
    sealed = StateFile(state, record(root).seal)
    sealed.save(made)
    assert sealed.load(made.genesis, made.order) == made
    raw = state.read_bytes()
    state.write_bytes(raw.replace(b'"identical":99', b'"identical":98'))
    with pytest.raises(Forged):
        await replay(root, resume=state)


async def test_where_no_key_is_a_state_file_is_taken_up_and_nothing_can_be_signed(root, tmp_path):
    made = finished(root, replaying.head_of(record(root).ledger, record(root).trust).size)
    for path in (root / "state").glob("*.kek"):
        path.unlink()
    keyless = certifying.record_of(root / "data", root / "state", worlds.binary(), root / "pins", opas=1)
    assert keyless.seal == b""
    state = tmp_path / "state.json"
    StateFile(state).save(made)
    assert StateFile(state, keyless.seal).load(made.genesis, made.order) == made
    with pytest.raises(MagistrateError):
        certifying.signer_of(root / "data", root / "state")


# -- the certificate


async def test_a_certificate_is_believed_under_a_pinned_policy_key_alone(root, tmp_path):
    found = await replay(root)
    signer = certifying.signer_of(root / "data", root / "state")
    raw = canonical.canonical(certifying.certified(found, signer)) + b"\n"
    with pytest.raises(Broken, match=r"key\.unpinned"):
        certifying.verified(raw, tmp_path / "pins")
    pins.pin(tmp_path / "pins", pins.export(worlds.ORIGIN, "policy", signer.public), signer.key_id)
    said = certifying.verified(raw, tmp_path / "pins")
    assert said.clean
    spoilt = raw.replace(b'"different":0', b'"different":1')
    with pytest.raises(Forged):
        certifying.verified(spoilt, tmp_path / "pins")
    with pytest.raises(Malformed):
        certifying.verified(raw[:-2] + b" }\n", tmp_path / "pins")


def test_what_a_finding_says_of_the_record_an_impact_counts_as_not_compared():
    elsewhere = {
        *("replay.bundle_missing", "replay.bundle_changed", "replay.bundle_data_changed"),  # another one is asked
        *("replay.opa_version", "replay.opa_binary", "replay.answer_differs", "replay.no_answer"),  # it was compared
        *("replay.slow", "replay.nothing_asked"),  # counted where it is heard; there is nothing to count
        *("replay.unpinned", "replay.unseen"),  # say nothing about an entry
    }
    assert set(FINDINGS) - set(replaying.SKIPPED) == elsewhere
    assert set(replaying.SKIPPED.values()) == {"changed", "erased", "unreadable", "unknown"}
