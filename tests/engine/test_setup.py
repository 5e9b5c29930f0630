"""Before genesis nothing is on record, and only the code's holder begins it, once, with what was shown."""

import asyncio
import shutil

import pytest
import pytest_asyncio

from magistrate.core.errors import Broken, Conflict, MagistrateError, Malformed, Refused, Unavailable
from magistrate.core.signature import sign_document, signer_from_seed
from magistrate.core.values import moment
from magistrate.engine.setup import CODE_SECONDS
from tests.support import world as worlds
from tests.support.world import FIRST, RESTART

CODE = "the code of the day"


@pytest_asyncio.fixture(loop_scope="session")
async def unset(tmp_path, ground):
    """An installation that nobody has set up yet."""
    root = tmp_path / "unset"
    shutil.copytree(ground.folder / "data" / "bundles", root / "data" / "bundles")  # taken in once: the gate is slow
    (root / "data").chmod(0o700)
    world = await worlds.opened(root, ground, bundle=ground.folder / "bundle.tar.gz")
    world.opened.setup.new_code(lambda: CODE)
    yield world
    await world.close()


def offered(world, code=CODE):
    return world.opened.setup.offer(code, FIRST, world.signers[FIRST].public.hex())


async def accept(world, statement, code=CODE, signer=None):
    return await world.opened.setup.accept(code, sign_document(statement, signer or world.signers[FIRST]))


async def test_nothing_is_on_record_before_it(unset):
    assert unset.size == 0
    assert not unset.opened.setup.done
    with pytest.raises(Unavailable, match=r"gate\.disarmed"):
        await unset.propose(RESTART)
    with pytest.raises(Unavailable, match=r"setup\.required"):
        unset.house.active()
    await unset.opened.begin()
    assert unset.size == 0


async def test_it_begins_with_the_signed_statement_and_the_gate_shut(unset):
    said = offered(unset)
    begun = await accept(unset, said)

    first = unset.entries()[0]
    assert (begun["index"], begun["leaf"], begun["origin"]) == (0, first.leaf_digest, unset.house.origin)
    assert first.kind == "genesis"
    assert said.items() <= first.content()["statement"].items()
    assert unset.state("installation", "gate") == "disarmed"
    assert unset.roles(FIRST) == set(unset.data["catalogue"]["installation"]["first_operator"]["roles"])


@pytest.mark.parametrize("code", ["", "x", CODE + " ", CODE.upper(), CODE[:-1]])
async def test_a_wrong_code_begins_nothing(unset, code):
    said = offered(unset)
    with pytest.raises(Refused, match=r"setup\.code"):
        offered(unset, code)
    with pytest.raises(Refused, match=r"setup\.code"):
        await accept(unset, said, code)
    assert unset.size == 0


async def test_no_code_is_no_way_in(unset):
    unset.opened.setup._hash = b""
    for code in ("", CODE):
        with pytest.raises(Refused, match=r"setup\.code"):
            offered(unset, code)


async def test_a_new_code_ends_the_one_before(unset):
    unset.opened.setup.new_code(lambda: "another")
    with pytest.raises(Refused, match=r"setup\.code"):
        offered(unset)
    assert offered(unset, "another")


async def test_a_code_lasts_fifteen_minutes_to_the_second(unset):
    unset.time.go(CODE_SECONDS - 1)
    said = offered(unset)
    unset.time.go(1)
    with pytest.raises(Refused, match=r"setup\.code"):
        offered(unset)
    with pytest.raises(Refused, match=r"setup\.code"):
        await accept(unset, said)
    assert (CODE_SECONDS, unset.size) == (900, 0)


async def test_a_code_is_used_once(unset):
    said = offered(unset)
    await accept(unset, said)
    with pytest.raises(Conflict, match=r"setup\.done"):
        await accept(unset, said)
    with pytest.raises(Conflict, match=r"setup\.done"):
        offered(unset)
    unset.opened.setup.new_code(lambda: "second")
    with pytest.raises(Conflict, match=r"setup\.done"):
        await accept(unset, said, "second")
    assert unset.size == 1


async def test_two_at_once_begin_one_ledger(unset):
    said = offered(unset)
    came = await asyncio.gather(accept(unset, said), accept(unset, said), return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["Conflict", "dict"]
    assert unset.size == 1


ALTERED = {
    "type": ["magistrate/warrant/v1", "magistrate/genesis/v2"],
    "origin": ["acme/prod"],
    "demo": [True],
    "bundle": ["sha256:" + "0" * 64],
    "sequence": [0, 2, "1", True],
    "contract": [2, 0],
    "opa": [{"version": "1.22.3"}, {"sha256": "sha256:" + "0" * 64}, {"origin": "elsewhere"}, {"more": 1}],
    "capabilities": ["sha256:" + "0" * 64],
    "keys": [{"warrant": "0" * 64}, {"checkpoint": "1" * 64}, {"policy": "2" * 64}],
    "operator": [{"roles": []}, {"roles": ["a-role-of-my-own"]}, {"key_id": "sha256:" + "0" * 64}],
    "at": ["2026-03-25T12:05:01Z", "2026-03-25T11:54:59Z", "yesterday", "2026-13-45T00:00:00Z"],
    "key_id": ["sha256:" + "0" * 64],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in ALTERED.items() for v in values])
async def test_a_statement_that_says_something_else_begins_nothing(unset, field, value):
    said = offered(unset)
    altered = {**said[field], **value} if isinstance(value, dict) else value
    assert said[field] != altered or type(said[field]) is not type(altered)

    with pytest.raises(MagistrateError) as no:
        statement = {**said, field: altered}
        signed = sign_document(said, unset.signers[FIRST])["signature"]
        try:
            statement = sign_document(statement, unset.signers[FIRST])
        except (MagistrateError, ValueError):
            statement = {**statement, "signature": signed}  # one that our own hand would not sign
        await unset.opened.setup.accept(CODE, statement)

    assert no.value.code.split(".")[0] in ("setup", "signature", "key", "input")
    assert unset.size == 0


async def test_every_field_must_be_there_and_no_other(unset):
    whole = sign_document(offered(unset), unset.signers[FIRST])
    for field in whole:
        with pytest.raises(Malformed, match=r"setup\.shape"):
            await unset.opened.setup.accept(CODE, {k: v for k, v in whole.items() if k != field})
    with pytest.raises(Malformed, match=r"setup\.shape"):
        await unset.opened.setup.accept(CODE, {**whole, "more": ""})
    assert unset.size == 0


async def test_a_signature_of_another_key_begins_nothing(unset):
    other = signer_from_seed(bytes(32))
    whole = sign_document(offered(unset), unset.signers[FIRST])
    for signature in (
        "0x" + "0" * 128,
        whole["signature"][:-1] + ("0" if whole["signature"][-1] != "0" else "1"),
        sign_document({**offered(unset), "key_id": other.key_id}, other)["signature"],
    ):
        with pytest.raises(Broken):
            await unset.opened.setup.accept(CODE, {**whole, "signature": signature})
    assert unset.size == 0


async def test_a_key_that_may_not_be_trusted_is_offered_nothing(unset):
    for public in ("0" * 64, "01" + "0" * 62, "ec" + "f" * 60 + "7f", "zz" * 32, "00", ""):
        with pytest.raises(MagistrateError):
            unset.opened.setup.offer(CODE, FIRST, public)


async def test_what_may_be_five_minutes_off_is_only_the_time(unset):
    said = {**offered(unset), "at": moment(unset.house.now() - 300)}
    await accept(unset, said)
    assert unset.size == 1
