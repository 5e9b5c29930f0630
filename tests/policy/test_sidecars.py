"""One sidecar for each bundle that is asked; canaries say whether a bundle may be."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from magistrate.core.errors import Absent, Broken, NoAnswer, Unavailable
from magistrate.core.values import Document
from magistrate.policy.archive import Archive
from magistrate.policy.bundle import Bundle
from magistrate.policy.canaries import failures
from magistrate.policy.sidecar import Sidecar
from magistrate.policy.sidecars import Sidecars
from tests.policy.trees import DATA, FILES, numbered, packed
from tests.support import fake_opa as fake

ASKED = b'{"x":1}'


@pytest.fixture
def archive(tmp_path, binary):
    return Archive(tmp_path / "bundles", binary)


@pytest.fixture
async def sidecars(archive, binary):
    sidecars = Sidecars(binary, archive)
    yield sidecars
    await sidecars.stop()


def alive(pid):
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110


async def test_a_bundle_is_started_once_however_many_ask_at_once(archive, sidecars):
    digest = archive.take(numbered(1)).digest

    got = await asyncio.gather(*(sidecars.of(digest) for _ in range(10)))

    assert len(set(map(id, got))) == 1
    assert sidecars.live() == {digest: got[0]}
    assert await sidecars.of(digest) is got[0]


async def test_each_bundle_answers_for_itself(archive, sidecars):
    old = archive.take(numbered(1)).digest
    rego = FILES["/magistrate/decision/decision.rego"].replace(b'"allow"', b'"ask"')
    new = archive.take(numbered(2, {"/magistrate/decision/decision.rego": rego})).digest

    answers = [await (await sidecars.of(digest)).ask("decision", ASKED) for digest in (old, new, old)]

    assert [answer.value["outcome"] for answer in answers] == ["allow", "ask", "allow"]
    assert [answer.bundle for answer in answers] == [old, new, old]


async def test_a_dropped_sidecar_is_gone_and_comes_back_on_demand(archive, sidecars):
    digest = archive.take(numbered(1)).digest
    pid = (await sidecars.of(digest)).pid

    await sidecars.drop(digest)
    await sidecars.drop(digest)

    assert not alive(pid)
    assert sidecars.live() == {}
    assert (await (await sidecars.of(digest)).ask("decision", ASKED)).value["outcome"] == "allow"


async def test_an_unknown_bundle_is_absent(sidecars):
    with pytest.raises(Absent, match=r"bundle\.unknown"):
        await sidecars.of("sha256:" + "0" * 64)


async def test_a_changed_bundle_blocks_only_its_own_questions(archive, sidecars):
    good, bad = archive.take(numbered(1)), archive.take(numbered(2))
    bad.path.chmod(0o600)
    bad.path.write_bytes(b"x")

    with pytest.raises(Broken, match=r"bundle\.changed"):
        await sidecars.of(bad.digest)

    assert (await (await sidecars.of(good.digest)).ask("decision", ASKED)).value["outcome"] == "allow"


async def test_a_failed_start_is_tried_again_when_asked_again(archive, sidecars):
    taken = archive.take(numbered(1))
    taken.path.chmod(0o600)
    taken.path.write_bytes(b"x")
    with pytest.raises(Broken):
        await sidecars.of(taken.digest)
    taken.path.write_bytes(taken.raw)

    assert (await sidecars.of(taken.digest)).pid


async def test_who_stops_waiting_does_not_stop_the_start(archive, sidecars):
    digest = archive.take(numbered(1)).digest
    impatient = asyncio.create_task(sidecars.of(digest))
    await asyncio.sleep(0.01)
    impatient.cancel()

    assert (await sidecars.of(digest)).pid


async def test_a_stop_ends_all_of_them_even_those_that_start(archive, binary):
    sidecars = Sidecars(binary, archive)
    one, two = archive.take(numbered(1)).digest, archive.take(numbered(2)).digest
    pid = (await sidecars.of(one)).pid
    starting = asyncio.create_task(sidecars.of(two))
    await asyncio.sleep(0.02)

    await sidecars.stop()

    assert not alive(pid)
    assert sidecars.live() == {}
    assert (await starting).pid == 0
    with pytest.raises(Unavailable):
        await sidecars.of(one)


async def test_who_stops_waiting_for_an_end_does_not_keep_a_sidecar_from_ending(archive, sidecars):
    digest = archive.take(numbered(1)).digest
    pid = (await sidecars.of(digest)).pid
    dropping = asyncio.create_task(sidecars.drop(digest))
    await asyncio.sleep(0)
    dropping.cancel()

    await sidecars.stop()

    assert dropping.cancelled()
    assert not alive(pid)


async def test_the_bundle_of_a_digest_is_read_once(archive, sidecars):
    taken = archive.take(numbered(1))

    assert sidecars.bundle(taken.digest) == taken
    taken.path.unlink()
    assert sidecars.bundle(taken.digest) == taken
    with pytest.raises(Absent):
        sidecars.bundle("sha256:" + "0" * 64)


# -- canaries --------------------------------------------------------------------------------------------------------


def with_canaries(canaries):
    return Bundle.read(packed({**FILES, "/data.json": json.dumps({**DATA, "canaries": canaries}).encode()}))


def canary(**other):
    return {"document": "decision", "question": {"x": 1}, "expect": {"outcome": "allow"}, **other}


@pytest.fixture
async def sidecar(binary, bundle):
    sidecar = Sidecar(binary, bundle)
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


async def test_a_bundle_whose_canaries_are_answered_right_has_no_failures(sidecar, bundle):
    assert await failures(sidecar, bundle) == []


@pytest.mark.parametrize(
    ("expect", "because"),
    [
        ({"outcome": "deny"}, "c: /outcome is 'allow', not 'deny'"),
        ({"outcome": "allow", "seen": 2}, "c: /seen is 1, not 2"),
        ({"seen": True}, "c: /seen is 1, not True"),
        ({"seen": "1"}, "c: /seen is 1, not '1'"),
        ({"seen": {}}, "c: /seen is 1, not {}"),
        ({"other": None}, "c: the answer holds no /other"),
        ({"tier": ""}, "c: the answer holds no /terms"),
    ],
)
async def test_an_answer_that_differs_is_a_failure(sidecar, expect, because):
    assert await failures(sidecar, with_canaries({"c": canary(expect=expect)})) == [because]


async def test_objects_may_hold_more_and_lists_may_not():
    answer = {"standing": {"outcome": "deny", "reasons": [{"code": "a", "title": "b"}]}, "terms": {"tier": ""}}
    async with fake.fake_opa() as (opa, sidecar):
        opa.misbehave(fake.saying(fake.envelope(result=answer)))

        right = [
            {"outcome": "deny", "tier": ""},
            {"standing": {"outcome": "deny"}},
            {"standing": {"reasons": [{"code": "a", "title": "b"}]}},
        ]
        wrong = [{"standing": {"reasons": []}}, {"standing": {"reasons": [{"code": "a"}]}}, {"tier": "T0"}]
        told = [await failures(sidecar, with_canaries({"c": canary(expect=expect)})) for expect in right + wrong]

    assert told[:3] == [[], [], []]
    assert [len(each) for each in told[3:]] == [1, 1, 1]


@pytest.mark.parametrize(
    "broken",
    [
        {"c": canary(document="policies")},
        {"c": canary(expect={})},
        {"c": canary(expect="allow")},
        {"c": canary(question="x")},
        {"c": {"document": "decision", "question": {}}},
        {"c": canary(more=1)},
        {"c": []},
        {"c": None},
    ],
)
async def test_a_canary_that_asks_nothing_is_a_failure(sidecar, broken):
    assert len(await failures(sidecar, with_canaries(broken))) == 1


@pytest.mark.parametrize("canaries", [{}, [], "x", None])
async def test_a_bundle_without_canaries_is_never_armed(sidecar, canaries):
    assert await failures(sidecar, with_canaries(canaries)) == ["the bundle carries no canaries"]


async def test_every_failure_is_told(sidecar):
    canaries = {"b": canary(expect={"outcome": "deny"}), "a": canary(document="approval"), "c": canary()}

    told = await failures(sidecar, with_canaries(canaries))

    assert [each.split(":")[0] for each in told] == ["a", "b"]
    assert "opa.undefined" in told[0]


async def test_an_answer_of_another_bundle_is_wrong_not_silent():
    async with fake.fake_opa() as (opa, sidecar):
        opa.misbehave(fake.saying(fake.envelope(provenance=...)))

        told = await failures(sidecar, with_canaries({"c": canary()}))

    assert told == ["c: opa.bundle: OPA does not say which bundle answered"]


class Shape(Document):
    outcome: str


async def test_an_answer_that_has_not_its_shape_is_wrong():
    async with fake.fake_opa() as (_opa, sidecar):
        right = await failures(sidecar, with_canaries({"c": canary(expect={"outcome": "deny"})}))
        told = await failures(sidecar, with_canaries({"c": canary(expect={"outcome": "deny"})}), {"decision": Shape})

    assert right == []
    assert len(told) == 1
    assert "opa.answer_shape" in told[0]


@pytest.mark.parametrize("way", [fake.hang, fake.close, fake.cut_body])
async def test_silence_is_not_a_failure_but_no_answer(way):
    async with fake.fake_opa(0.1) as (opa, sidecar):
        opa.misbehave(way)

        with pytest.raises(NoAnswer):
            await failures(sidecar, with_canaries({"c": canary()}))


async def test_a_stopped_opa_is_silent(binary, bundle):
    sidecar = Sidecar(binary, bundle, deadline=0.1)
    await sidecar.start()
    try:
        os.kill(sidecar.pid, signal.SIGSTOP)
        while Path(f"/proc/{sidecar.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.01)
        with pytest.raises(NoAnswer, match=r"opa\.timeout"):
            await failures(sidecar, bundle)
    finally:
        await sidecar.stop()


async def test_few_bundles_are_kept_in_memory_and_the_others_are_read_again(archive, sidecars, monkeypatch):
    monkeypatch.setattr("magistrate.policy.sidecars.KEPT", 2)
    few = Sidecars(sidecars._binary, archive)
    digests = [archive.take(numbered(n)).digest for n in (1, 2, 3)]

    for digest in digests:
        assert few.bundle(digest).digest == digest

    assert few._loaded.cache_info().currsize == 2
    archive.path(digests[0]).unlink()
    with pytest.raises(Broken, match=r"bundle\.lost"):
        few.bundle(digests[0])
    assert sidecars._loaded.cache_info().maxsize == archive._parsed.cache_info().maxsize == 8
