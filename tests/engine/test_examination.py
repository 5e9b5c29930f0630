"""What a ledger proves to an auditor who trusts only pinned keys: verified, unverifiable, or invalid with the place."""

import asyncio
import base64
import copy
import sqlite3

import pytest

from magistrate.core import canonical
from magistrate.core import decision as decisions
from magistrate.core.approval import encode
from magistrate.core.errors import Absent
from magistrate.core.promotion import NOTHING
from magistrate.core.signature import sign_document, signer_from_seed
from magistrate.core.values import moment, unix
from magistrate.engine import halting, opening, recovery
from magistrate.engine.examination import examine, rebuilt
from magistrate.engine.installation import Word
from magistrate.keys import pins
from magistrate.store.verify import verify_ledger
from tests.support.world import CASCADE, DEPLOY, RESTART, SQL, image

MALLORY = signer_from_seed(b"m" * 32)


async def append(world, kind, subject, state, body, parents=(), chain=""):
    """What a service that lies would append: under its own checkpoint key, past every rule."""
    type_ = {"approval": "magistrate/approval-record/v1"}.get(kind, f"magistrate/{kind}/v1")
    world.expected = "INVALID"

    def write(txn):
        txn._fold = lambda *_: None
        return txn.append(kind, subject, state, parents, body, type_, chain)

    return await world.house.commit(write)


async def invalid(world, code):
    told = world.examined()
    assert told.verdict == "INVALID"
    assert told.finding.startswith(f"{code}: entry "), told.finding
    assert told.lines()[-1] == "INVALID"
    return True


# -- sound


async def test_a_sound_ledger_is_verified_under_a_pinned_key(world):
    await world.done(DEPLOY)
    await world.done(CASCADE)
    genesis = world.entries()[0].leaf_digest
    told = world.examined(genesis=genesis)

    assert (told.verdict, told.finding, told.demo) == ("VERIFIED", "", False)
    assert (told.entries, told.genesis, told.origin) == (world.size, genesis, world.house.origin)
    assert told.signed_by == world.house.keys.checkpoint.key_id
    assert told.approvals == len(world.entries("approval"))
    assert told.warrants == len(world.entries("warrant"))
    assert told.administration == sum(len(world.entries(k)) for k in ("operator", "observer")) + sum(
        e.state != "quarantined" for e in world.entries("agent")
    )
    assert told.lines()[-1] == "VERIFIED"
    assert told.plain()["verdict"] == "VERIFIED"


async def test_without_a_pin_nothing_is_verified(world, tmp_path):
    told = examine(world.root / "data", tmp_path / "none")
    assert (told.verdict, told.signed_by) == ("UNVERIFIABLE", "")
    assert told.finding.startswith("key.unpinned")
    assert told.lines()[-1] == "UNVERIFIABLE"


async def test_a_pin_for_another_origin_or_role_is_no_pin(world, tmp_path):
    key = world.house.keys.checkpoint
    for n, (origin, role) in enumerate((("acme/other", "checkpoint"), (world.house.origin, "warrant"))):
        pins.pin(tmp_path / str(n), pins.export(origin, role, key.public), key.key_id)
        assert examine(world.root / "data", tmp_path / str(n)).verdict == "UNVERIFIABLE"


async def test_a_pin_of_another_key_is_invalid(world, tmp_path):
    pins.pin(tmp_path, pins.export(world.house.origin, "checkpoint", MALLORY.public), MALLORY.key_id)
    told = examine(world.root / "data", tmp_path)
    assert told.verdict == "INVALID"
    assert told.signed_by == ""


async def test_one_of_several_pinned_keys_is_enough(world, tmp_path):
    for key in (MALLORY, world.house.keys.checkpoint, signer_from_seed(b"x" * 32)):
        pins.pin(tmp_path, pins.export(world.house.origin, "checkpoint", key.public), key.key_id)
    assert examine(world.root / "data", tmp_path).verdict == "VERIFIED"


async def test_another_genesis_than_the_pinned_one_is_invalid(world):
    told = world.examined(genesis="sha256:" + "0" * 64)
    assert (told.verdict, told.finding.split(":")[0]) == ("INVALID", "ledger.genesis")


def test_no_ledger_is_no_verdict(tmp_path):
    with pytest.raises(Absent):
        examine(tmp_path, tmp_path)


# -- the file


def _swap(column):
    """The bytes with one letter exchanged."""
    return f"CAST(replace(CAST({column} AS TEXT), 'verification', 'verificatiom') AS BLOB)"


async def test_a_changed_byte_of_any_kind_of_row_is_invalid(world):
    await world.done(RESTART)
    last = world.size - 1
    for sql, *values in (
        (f"UPDATE entries SET header = {_swap('header')} WHERE seq = ?", last),
        (f"UPDATE bodies SET body = {_swap('body')} WHERE seq = ?", last),
        ("UPDATE bodies SET salt = randomblob(32) WHERE seq = ?", last),
        ("DELETE FROM entries WHERE seq = ?", last),
        ("UPDATE entries SET leaf = randomblob(32) WHERE seq = ?", last),
        ("UPDATE checkpoints SET note = replace(note, 'acme', 'acne')",),
    ):
        copied = world.root.parent / f"copy-{hash(sql) & 0xFFFF}"
        conn = sqlite3.connect(world.root / "data" / opening.LEDGER)
        copied.mkdir()
        other = sqlite3.connect(copied / opening.LEDGER)
        conn.backup(other)
        conn.close()
        for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {name}")
        changed = other.execute(sql, values).rowcount
        other.commit()
        other.close()
        assert changed >= 1, sql
        assert examine(copied, world.pin()).verdict == "INVALID", sql


async def test_an_end_that_was_cut_off_is_found_by_the_mark(world, tmp_path):
    image(world.root, tmp_path / "before")
    await world.done(RESTART)
    await asyncio.sleep(0.3)  # the mark is written at most every 200 ms
    mark = opening.mark_path(world.root / "state", world.root / "data")
    assert examine(world.root / "data", world.pin(), mark=mark).verdict == "VERIFIED"
    assert examine(tmp_path / "before" / "data", world.pin()).verdict == "VERIFIED"  # it agrees with itself
    told = examine(tmp_path / "before" / "data", world.pin(), mark=mark)
    assert (told.verdict, told.signed_by) == ("INVALID", "")


async def test_a_body_that_nothing_on_record_erased_is_found(world):
    row = await world.done(RESTART)
    index = world.entries("admission", row.id)[0].index
    conn = sqlite3.connect(world.root / "data" / opening.LEDGER, isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    conn.execute("DELETE FROM bodies WHERE seq = ?", (index,))
    conn.close()
    world.expected = "INVALID"
    assert await invalid(world, "ledger.erased")


async def test_a_warrant_for_which_too_few_approved(world, monkeypatch):
    """A bundle that says allow against its own terms, and a service that would let it."""
    world.answering(
        "decision", lambda said: {**said, "standing": {**said["standing"], "outcome": "allow", "wanted": []}}
    )
    monkeypatch.setattr(decisions, "hold_requirement", lambda *_: None)
    shown = await world.propose(SQL)
    assert shown.warrant is not None
    world.expected = "INVALID"
    assert await invalid(world, "warrant.approvals")


async def test_state_that_no_entry_made_is_found(world):
    warrant = await world.warrant(RESTART)
    path = world.root / "data" / opening.LEDGER
    assert rebuilt(path) == []
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("UPDATE warrants SET data = json_set(data, '$.uses_left', 99) WHERE id = ?", (warrant["warrant_id"],))
    conn.close()
    world.expected = "INVALID"
    assert rebuilt(path) == [f"warrants {warrant['warrant_id']}: differs in data"]
    assert verify_ledger(path).size == world.size  # the entries themselves are sound


# -- what a lying service would append


async def test_an_operator_that_no_approved_act_made(world):
    person = {"id": "mallory", "roles": [], "key_id": MALLORY.key_id, "public_key": MALLORY.public.hex()}
    await append(world, "operator", "mallory", "active", {"event": "enrolled", "operator": person})
    assert await invalid(world, "administration.floor")


@pytest.mark.parametrize("kind", ["agent", "observer", "key"])
async def test_anything_else_that_no_approved_act_made(world, kind):
    body = {
        "agent": {"event": "released", "agent": {"id": "bot"}, "credential": {}, "because": ""},
        "observer": {"event": "enrolled", "observer": {"id": "m", "type": "observer", "owner": ""}, "credential": {}},
        "key": {"role": "warrant", "public_key": "00"},
    }[kind]
    await append(world, kind, "m", "active", body)
    assert await invalid(world, "administration.floor")


OTHER = "sha256:" + "0" * 64


def promotion(world, intent, **change):
    """The promotion of the act's bundle, signed by the policy key: a lying service has it."""
    row = world.row("intents", intent["intent_id"])
    genesis = world.row("installation", "genesis").data
    said = {
        "type": "magistrate/promotion/v1",
        "origin": world.house.origin,
        "digest": intent["parameters"]["digest"],
        "sequence": 1_000_000,
        "contract": 1,
        "previous": world.house.active(),
        "engine": OTHER,
        "catalogue": OTHER,
        "templates": OTHER,
        "capabilities": genesis["capabilities"],
        "opa": {name: genesis["opa"][name] for name in ("version", "sha256")},
        "built": NOTHING.plain(),
        "author": "emma",
        "intent_id": intent["intent_id"],
        "intent_digest": row.data["intent_digest"],
        "approvals": [given["digest"] for given in row.data["approvals"]],
        "live_warrants": "keep",
        "at": moment(world.house.now()),
        "key_id": world.house.keys.policy.key_id,
        **change,
    }
    return sign_document(said, world.house.keys.policy)


async def _taken(world, author):
    built = NOTHING.plain()
    said = {"event": "taken", "sequence": 1_000_000, "contract": 1, "by": author, "built": built}
    await world.house.commit(lambda txn: txn.append("bundle", OTHER, "archived", body=said))


async def _activation(world, author="emma"):
    """An approved act about a bundle that somebody took in, admitted, and not yet carried out."""
    await _taken(world, author)
    leaf = await approved(world, "bundle.activate", {"digest": OTHER, "live_warrants": "keep"})
    intent = world.entries("intent")[-1].content()["intent"]
    return intent, leaf


async def test_a_promotion_without_an_approved_act(world):
    intent, _ = await _activation(world)
    await append(world, "bundle", OTHER, "active", {"event": "activated", "promotion": promotion(world, intent)})
    assert await invalid(world, "administration.floor")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"origin": "acme/other"}, "promotion.other"),
        ({"previous": OTHER}, "promotion.other"),
        ({"sequence": 1}, "bundle.older"),
        ({"intent_digest": OTHER}, "promotion.other"),
        ({"approvals": []}, "promotion.other"),
        ({"live_warrants": "revoke"}, "promotion.other"),
        ({"contract": 2}, "promotion.other"),
        ({"sequence": 1_000_001}, "promotion.other"),
        ({"author": "ben"}, "promotion.author"),
        ({"digest": "sha256:" + "1" * 64}, "promotion.other"),
    ],
)
async def test_a_promotion_that_says_something_else_than_the_record(world, change, code):
    intent, leaf = await _activation(world)
    body = {"event": "activated", "promotion": promotion(world, intent, **change)}
    await append(world, "bundle", OTHER, "active", body, [leaf])
    assert await invalid(world, code)


async def test_a_promotion_that_names_another_act_than_the_one_that_made_it(world):
    """The act that made it was carried by the author's own word; the one it names was not."""
    named, _ = await _activation(world)
    made = await approved(world, "bundle.activate", {"digest": OTHER, "live_warrants": "keep"})
    body = {"event": "activated", "promotion": promotion(world, named)}
    await append(world, "bundle", OTHER, "active", body, [made])
    assert await invalid(world, "promotion.other")


async def test_signatures_that_brought_a_bundle_back_once_bring_none_back_again(world):
    store = world.house.store
    bundle = {"digest": world.house.active(), "sequence": 1, "contract": 1}
    bundle["sequence"] = world.row("installation", "active").data["sequence"]
    words = [
        recovery.statement(
            store,
            world.house.origin,
            what="bundle",
            to=bundle["digest"],
            reason="locked out",
            operator=by,
            signer=world.signers[by],
            at=world.house.now(),
        )
        for by in ("ann", "ben")
    ]
    said = {"what": "bundle", "reason": "locked out", "statements": words, "asked": [], "bundle": bundle}
    await append(world, "recovery", "bundle", "recovered", said)
    await append(world, "recovery", "bundle", "recovered", said)
    assert await invalid(world, "recovery.other")
    assert f"entry {store.size - 1}" in world.examined().finding


@pytest.mark.parametrize(
    "change", [{"reason": "nobody signed this"}, {"bundle": {"sequence": 9}}, {"bundle": {"digest": OTHER}}]
)
async def test_a_recovery_that_says_more_than_was_signed(world, change):
    digest = world.house.active()
    sequence = world.row("installation", "active").data["sequence"]
    words = [
        recovery.statement(
            world.house.store,
            world.house.origin,
            what="bundle",
            to=digest,
            reason="locked out",
            operator=by,
            signer=world.signers[by],
            at=world.house.now(),
        )
        for by in ("ann", "ben")
    ]
    bundle = {"digest": digest, "sequence": sequence, "contract": 1, **change.get("bundle", {})}
    said = {"what": "bundle", "reason": "locked out", "statements": words, "asked": [], **change, "bundle": bundle}
    await append(world, "recovery", "bundle", "recovered", said)
    assert await invalid(world, "recovery.other")


async def test_a_promotion_that_nobody_signed(world):
    intent, leaf = await _activation(world)
    body = {"event": "activated", "promotion": {**promotion(world, intent), "signature": ""}}
    await append(world, "bundle", OTHER, "active", body, [leaf])
    assert await invalid(world, "promotion.unsigned")


async def test_a_promotion_signed_by_another_key_of_the_installation(world):
    intent, leaf = await _activation(world)
    unsigned = {name: value for name, value in promotion(world, intent).items() if name != "signature"}
    key = world.house.keys.warrant
    body = {"event": "activated", "promotion": sign_document({**unsigned, "key_id": key.key_id}, key)}
    await append(world, "bundle", OTHER, "active", body, [leaf])
    assert await invalid(world, "signature.key_id")


async def test_a_bundle_that_its_own_author_approved(world):
    """The bundle named no author when it was approved: who approved it hands it in afterwards."""
    parameters = {"digest": OTHER, "live_warrants": "keep"}
    await _taken(world, "")
    leaf = await approved(world, "bundle.activate", parameters)
    intent = world.entries("intent")[-1].content()["intent"]
    given = [given["operator"] for given in world.row("intents", intent["intent_id"]).data["approvals"]]
    author = next(one for one in given if one != intent["proposer"]["id"])
    body = {"event": "activated", "promotion": promotion(world, intent, author=author)}
    await append(world, "bundle", OTHER, "active", body, [leaf])
    assert await invalid(world, "promotion.author")


async def test_a_decision_by_a_bundle_that_was_not_in_force(world):
    """A service that asks a bundle of its own choice."""
    shown = await world.propose(RESTART)
    said = world.entries("decision", shown.intent["intent_id"])[0].content()
    proposed = _proposed(shown)
    digest = decisions.decision_digest(
        intent_digest=proposed["intent_digest"], bundle=OTHER, round_=said["round"], terms=said["terms"]
    )
    body = {**said, "bundle": OTHER, "decision_digest": digest, "reserves": []}
    await append(world, "intent", "int-other", "proposed", proposed)
    await append(world, "decision", "int-other", "waiting", body)
    assert await invalid(world, "decision.bundle")


def _proposed(shown):
    intent = {**shown.intent, "intent_id": "int-other"}
    return {
        "intent": intent,
        "intent_digest": canonical.digest_of(intent),
        "action_digest": canonical.digest_of(intent),
        "subject": {"type": "", "id": ""},
        "administration": False,
    }


async def approved(world, action, parameters):
    """The leaf of an admission that an approved act got, which nothing has used yet."""
    shown = await world.administer(action, parameters)
    world.expected = "INVALID"
    body = {
        "warrant_id": shown.warrant["warrant_id"],
        "use": 1,
        "audience": "router",
        "presenter": {"type": "operator", "id": shown.intent["proposer"]["id"], "credential": "ed25519"},
        "before": [],
        "asked": [],
    }
    leaf = world.row("warrants", shown.warrant["warrant_id"]).data["leaf"]
    return (await append(world, "admission", "exe-1", "started", body, [leaf])).leaf_digest


async def test_an_operator_made_by_the_act_for_an_agent(world):
    """One signature suffices for an agent's key, and for no operator."""
    leaf = await approved(world, "agent.key", {"agent": "bot", **world.credential("new")})
    person = {"id": "mallory", "roles": [], "key_id": MALLORY.key_id, "public_key": MALLORY.public.hex()}
    await append(world, "operator", "mallory", "active", {"event": "enrolled", "operator": person}, [leaf])
    assert await invalid(world, "administration.act")


@pytest.mark.parametrize("what", ["another key", "more roles", "another name", "another event"])
async def test_an_operator_that_is_not_the_one_approved(world, what):
    new = signer_from_seed(b"n" * 32)
    leaf = await approved(world, "operator.enrol", world.joining("new", new))
    person = {"id": "new", "roles": [], "key_id": new.key_id, "public_key": new.public.hex()}
    subject, event = "new", "enrolled"
    if what == "another key":
        person |= {"key_id": MALLORY.key_id, "public_key": MALLORY.public.hex()}
    if what == "more roles":
        person["roles"] = ["everything"]
    if what == "another name":
        subject = person["id"] = "mallory"
    if what == "another event":
        event = "roles"
    await append(world, "operator", subject, "active", {"event": event, "operator": person}, [leaf])
    assert await invalid(world, "administration.act")


@pytest.mark.parametrize("kind", ["agent", "observer"])
async def test_somebody_enrolled_whose_owner_is_no_operator(world, kind):
    asked = {kind: "new", "owner": "team-a", **world.credential("new")}
    leaf = await approved(world, f"{kind}.enrol", asked)
    who = {"id": "new", "owner": "team-a"} | ({} if kind == "agent" else {"type": kind})
    key = {"sha256": f"sha256:{asked['key_sha256']}", "expires_at": unix(asked["expires_at"])}
    body = {"event": "enrolled", kind: who, "credential": key, "because": ""}
    await append(world, kind, "new", "active", body, [leaf])
    assert await invalid(world, "administration.owner")


async def test_two_changes_by_one_act(world):
    await world.act("agent.key", {"agent": "bot", **world.credential("new")})
    changed = world.entries("agent")[-1]
    await append(world, "agent", "bot", "active", changed.content(), changed.parents)
    assert await invalid(world, "administration.floor")


async def test_a_quarantine_that_changes_more_than_that(world):
    body = {
        "event": "quarantined",
        "agent": {"id": "bot", "owner": "mallory"},
        "credential": {},
        "because": "",
    }
    await append(world, "agent", "bot", "quarantined", body)
    assert await invalid(world, "administration.floor")


def given(world, shown, operator, signer=None, **change):
    return world.word(shown, operator, signer=signer, change=change)


async def test_an_approval_by_nobody_or_under_another_key(world):
    shown = await world.propose(SQL)
    id_ = shown.intent["intent_id"]
    world.signers = {**world.signers, "mallory": MALLORY}
    await append(world, "approval", id_, "waiting", given(world, shown, "mallory"))
    assert await invalid(world, "approval.nobody")


async def test_an_approval_that_mallory_signed_for_ann(world):
    shown = await world.propose(SQL)
    await append(world, "approval", shown.intent["intent_id"], "waiting", given(world, shown, "ann", signer=MALLORY))
    assert await invalid(world, "approval.key")


async def test_an_approval_whose_words_were_changed_afterwards(world):
    shown = await world.propose(SQL)
    word = given(world, shown, "ann")
    said = canonical.load(base64.urlsafe_b64decode(word["statement"] + "==="))
    altered = {**word, "statement": encode(canonical.canonical({**said, "reason": "never said"}))}
    await append(world, "approval", shown.intent["intent_id"], "waiting", altered)
    assert await invalid(world, "signature.wrong")


@pytest.mark.parametrize("how", ["another intent", "another decision", "another round", "long ago"])
async def test_an_approval_moved_to_where_it_was_not_given(world, how):
    one, other = await world.propose(SQL), await world.propose(DEPLOY)
    word = given(world, one, "ann")
    subject = one.intent["intent_id"]
    if how == "another intent":
        subject = other.intent["intent_id"]
    if how == "another decision":
        word = given(world, one, "ann", decision_digest="sha256:" + "0" * 64)
    if how == "another round":
        word = given(world, one, "ann", round=7)
    if how == "long ago":
        word = given(world, one, "ann", at=moment(world.house.now() - 3600))
    await append(world, "approval", subject, "waiting", word)
    told = world.examined()
    assert (told.verdict, told.finding.split(".")[0]) == ("INVALID", "approval")


async def test_an_approval_by_one_who_was_suspended(world):
    shown = await world.propose(SQL)
    word = given(world, shown, "ann")
    await world.act("operator.suspend", {"operator": "ann"})
    await append(world, "approval", shown.intent["intent_id"], "waiting", word)
    assert await invalid(world, "approval.nobody")


def forged(world, warrant, **change):
    """A warrant under our own key that says something else."""
    unsigned = {k: v for k, v in copy.deepcopy(warrant).items() if k != "signature"}
    return sign_document({**unsigned, **change}, world.house.keys.warrant)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {"uses": w["uses"] + 1},
        lambda w: {"ttl": w["ttl"] + 60, "expires_at": moment(2_000_000_000)},
        lambda w: {"tier": "another"},
        lambda w: {"constraints": {}},
        lambda w: {"evidence": []},
        lambda w: {"holder": {**w["holder"], "id": "other"}},
        lambda w: {"audience": w["origin"] + "/holder"},
        lambda w: {"approvals": ["sha256:" + "0" * 64]},
        lambda w: {"issuer": {"type": "operator", "id": "ann"}},
        lambda w: {"policy": {**w["policy"], "decision": "sha256:" + "0" * 64}},
        lambda w: {"policy": {**w["policy"], "entry": "sha256:" + "0" * 64}},
        lambda w: {"policy": {**w["policy"], "bundle": "sha256:" + "0" * 64}},
        lambda w: {"scope": {**w["scope"], "target": "api-gateway-prod"}},
        lambda w: {"warrant_id": "wrt-made-up"},
    ],
)
async def test_a_warrant_that_is_not_what_was_decided(world, change):
    warrant = await world.warrant(RESTART)
    other = forged(world, warrant, **change(warrant))
    await append(world, "warrant", warrant["warrant_id"], "live", other)
    told = world.examined()
    assert (told.verdict, told.finding.split(".")[0]) == ("INVALID", "warrant")


async def test_a_warrant_that_nobody_decided(world):
    warrant = await world.warrant(RESTART)
    await append(world, "warrant", "wrt-made-up", "live", forged(world, warrant, warrant_id="wrt-made-up"))
    assert await invalid(world, "entry.shape")


async def test_a_warrant_for_what_was_only_asked(world):
    shown = await world.propose(DEPLOY)
    row = world.row("intents", shown.intent["intent_id"])
    made = await world.warrant(DEPLOY)
    now = world.house.now()
    warrant = forged(
        world,
        made,
        warrant_id=shown.intent["intent_id"].replace("int-", "wrt-"),
        intent_digest=shown.decision["intent_digest"],
        approvals=[],
        issuer={"type": "policy", "id": "policies.deploys"},
        issued_at=moment(now),
        policy={**made["policy"], "decision": row.data["decision_digest"], "entry": row.data["decision_leaf"]},
    )
    await append(world, "warrant", warrant["warrant_id"], "live", warrant)
    assert await invalid(world, "warrant.decision")


async def test_a_warrant_under_another_key(world):
    warrant = await world.warrant(RESTART)
    unsigned = {**{k: v for k, v in warrant.items() if k != "signature"}, "key_id": MALLORY.key_id}
    await append(world, "warrant", warrant["warrant_id"], "live", sign_document(unsigned, MALLORY))
    told = world.examined()
    assert told.verdict == "INVALID"


@pytest.mark.parametrize("how", ["twice", "beyond", "by another", "too late", "without a warrant", "zero", "revoked"])
async def test_a_use_that_the_warrant_does_not_have(world, how):
    row = await world.done(RESTART)
    warrant = world.row("warrants", row.data["warrant_id"]).data
    said = world.entries("admission", row.id)[0].content()
    body = {**said, "use": 2}
    if how == "twice":
        body["use"] = 1
    if how == "beyond":
        body["use"] = warrant["warrant"]["uses"] + 1
    if how == "zero":
        body["use"] = 0
    if how == "by another":
        body["presenter"] = {**said["presenter"], "id": "other"}
    if how == "too late":
        world.time.go(warrant["warrant"]["ttl"])
    if how == "revoked":
        await halting.revoke(world.house, row.data["warrant_id"], Word("ann", "x"))
    parents = [] if how == "without a warrant" else [warrant["leaf"]]
    await append(world, "admission", "exe-2", "started", body, parents)
    told = world.examined()
    assert told.verdict == "INVALID"
    assert told.finding.split(".")[0] in ("admission", "warrant")


def _better(body):
    body["verification"]["verdict"] = "conforming"


def _milder(body):
    body["verification"]["deviations"] = []


def _uncontained(body):
    body["verification"]["containment"] = []


def _of_an_approval(body):
    body["asked"][0]["document"] = "approval"


def _of_another(body):
    body["asked"][0]["question"]["execution"]["execution_id"] = "exe-1"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_better, "verification.verdict"),
        (_milder, "verification.verdict"),
        (_uncontained, "verification.verdict"),
        (_of_an_approval, "verification.other"),
        (_of_another, "verification.other"),
    ],
)
async def test_a_verdict_that_is_not_what_the_answer_beside_it_comes_to(world, change, code):
    world.fleet.deploy = lambda name, said: {"version": said["version"]}
    row = await world.finished(await world.redeem(await world.warrant(DEPLOY)))
    body = copy.deepcopy(world.entries("verification", row.id)[0].content())
    assert body["verification"]["verdict"] == "deviating"
    assert body["verification"]["deviations"]
    assert body["verification"]["containment"]
    change(body)
    await append(world, "verification", row.id, body["verification"]["verdict"], body)
    assert await invalid(world, code)


async def test_a_conforming_verdict_although_something_was_left_out(world):
    row = await world.done(RESTART)
    body = copy.deepcopy(world.entries("verification", row.id)[0].content())
    assert body["verification"]["verdict"] == "conforming"
    body["left_out"] = [{"kind": "observation", "digest": "", "source": "probe/x", "at": "", "bytes": 1}]
    await append(world, "verification", row.id, "conforming", body)
    assert await invalid(world, "verification.verdict")


async def test_a_verdict_under_another_state(world):
    row = await world.done(RESTART)
    await append(world, "verification", row.id, "deviating", world.entries("verification", row.id)[0].content())
    assert await invalid(world, "verification.other")


async def test_a_decision_that_is_not_what_its_digest_says(world):
    shown = await world.propose(SQL)
    decided = world.entries("decision", shown.intent["intent_id"])[-1].content()
    terms = {**decided["terms"], "requirement": {**decided["terms"]["requirement"], "all_of": []}}
    await append(world, "decision", shown.intent["intent_id"], "waiting", {**decided, "terms": terms})
    assert await invalid(world, "decision.digest")


async def test_an_intent_that_is_not_what_its_digest_says(world):
    shown = await world.propose(SQL)
    said = world.entries("intent", shown.intent["intent_id"])[0].content()
    altered = {**said, "intent": {**said["intent"], "target": "elsewhere"}}
    await append(world, "intent", shown.intent["intent_id"], "proposed", altered)
    assert await invalid(world, "intent.digest")


async def test_an_intent_under_another_name(world):
    shown = await world.propose(SQL)
    said = world.entries("intent", shown.intent["intent_id"])[0].content()
    await append(world, "intent", "int-other", "proposed", said)
    assert await invalid(world, "intent.other")


@pytest.mark.parametrize("kind", ["intent", "decision", "approval", "warrant", "admission", "operator", "agent"])
async def test_an_entry_that_holds_nonsense(world, kind):
    for body in ({}, {"statement": 7}, {"intent": []}):
        await append(world, kind, "x", "active", body)
        told = world.examined()
        assert told.verdict == "INVALID"
        assert "entry " in told.finding


async def test_a_second_genesis(world):
    await append(world, "genesis", "", "", world.entries()[0].content())
    assert await invalid(world, "ledger.genesis")


async def test_a_recovery_is_told_and_its_signatures_stand(world):
    world.time.jump(3600)
    said = recovery.statement(
        world.house.store,
        world.house.origin,
        what="clock",
        to="",
        reason="the clock was set",
        operator="ann",
        signer=world.signers["ann"],
        at=world.house.now(),
    )
    await recovery.recover_clock(world.house, world.operator("ann"), said, None)
    told = world.examined()
    assert told.verdict == "VERIFIED"
    assert len(told.recoveries) == 1
    assert [line for line in told.lines() if line.startswith("note") and "the clock was set" in line]
    assert (await world.propose(RESTART)).warrant is not None


async def test_a_recovery_that_nobody_signed(world):
    body = {"what": "mark", "reason": "because", "statements": [], "asked": []}
    await append(world, "recovery", "mark", "recovered", body)
    assert await invalid(world, "recovery.operators")
