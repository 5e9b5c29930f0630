"""Credentials that do not stand."""

import pytest

from magistrate.core import canonical
from magistrate.core.signature import signer_from_seed
from magistrate.keys.nonces import NonceMemory
from tests.api.house import LEAD, SECOND, bare, begin, proposal

PATH = "/v1/intents?limit=3"


async def test_an_api_key_ends(home):
    await home.enrol("agent", "brief", expires=60)
    assert (await home.call("brief", "GET", PATH)).status_code == 200
    home.wall[0] += 60
    answer = await home.call("brief", "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential.expired")


async def test_a_replaced_key_is_over(home):
    credential = {"sha256": canonical.digest(b"mk_new"), "expires_at": home.house.now() + 60}
    body = {"event": "key", "agent": {"id": "bot"}, "credential": credential, "because": ""}
    await home.append("agent", "bot", "active", body)
    answer = await home.call("bot", "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential.replaced")


@pytest.mark.parametrize(
    "said",
    ["", "Bearer", "Bearer ", "Bearer mk_short", "bearer  mk_" + "x" * 43, "Bearer sk_" + "x" * 43, "mk_" + "x" * 43],
)
async def test_what_is_no_key_of_ours_is_refused(home, said):
    answer = await home.http.get(PATH, headers={"authorization": said})
    assert (answer.status_code, answer.json()["code"]) == (401, "credential.malformed")


async def test_a_hash_is_no_key(home):
    hashed = canonical.digest(home.keys["bot"].encode()).removeprefix("sha256:")
    answer = await home.http.get(PATH, headers={"authorization": f"Bearer mk_{hashed}"})
    assert answer.json()["code"] == "credential.unknown"


async def test_two_credentials_are_none(home):
    headers = home.signed(LEAD, "GET", PATH) | {"authorization": f"Bearer {home.keys['bot']}"}
    answer = await home.http.get(PATH, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential.two")


async def test_a_signed_request_is_let_in_once(home):
    headers = home.signed(LEAD, "GET", PATH)
    assert (await home.http.get(PATH, headers=headers)).status_code == 200
    again = await home.http.get(PATH, headers=headers)
    assert (again.status_code, again.json()["code"]) == (401, "signature.replayed")


def _other(signature):
    """The signature with one of its letters exchanged, whichever stands there."""
    name, sep, value = signature.partition("=:")
    return f"{name}{sep}{'B' if value[0] == 'A' else 'A'}{value[1:]}"


async def test_a_signature_holds_for_one_request_only(home):
    raw = canonical.canonical(proposal())
    signed = {"content-type": "application/json"} | home.signed(LEAD, "POST", "/v1/intents", raw)
    tampered = {
        "body": home.http.build_request("POST", "/v1/intents", content=raw + b" ", headers=signed),
        "path": home.http.build_request("POST", "/v1/executions", content=raw, headers=signed),
        "query": home.http.build_request("POST", "/v1/intents?a=1", content=raw, headers=signed),
        "host": home.http.build_request(
            "POST", "/v1/intents", content=raw, headers=signed | {"host": "localhost:8420"}
        ),
        "signature": home.http.build_request(
            "POST", "/v1/intents", content=raw, headers=signed | {"signature": _other(signed["signature"])}
        ),
        "input": home.http.build_request(
            "POST",
            "/v1/intents",
            content=raw,
            headers=signed | {"signature-input": signed["signature-input"].replace("created=1", "created=2")},
        ),
        "digest alone": home.http.build_request(
            "POST", "/v1/intents", content=raw, headers=signed | {"content-digest": "sha-256=:AAAA:"}
        ),
    }
    for what, request in tampered.items():
        answer = await home.http.send(request)
        assert answer.status_code == 401, what
        assert answer.json()["code"].startswith("signature."), what
    whole = home.http.build_request("POST", "/v1/intents", content=raw, headers=signed)
    assert (await home.http.send(whole)).status_code == 201


@pytest.mark.parametrize("late", [-61, 6])
async def test_a_signature_is_of_now(home, late):
    headers = home.signed(LEAD, "GET", PATH, created=home.house.now() + late)
    assert (await home.http.get(PATH, headers=headers)).status_code == 401


async def test_a_strangers_signature_is_nobodys(home):
    answer = await home.call(signer_from_seed(b"x" * 32), "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (401, "signature.key")


async def test_a_newcomer_is_known_at_once_and_a_suspended_one_no_longer(home):
    assert (await home.call(SECOND, "GET", PATH)).status_code == 401
    await home.operator("second-1", SECOND)
    assert (await home.call(SECOND, "GET", PATH)).status_code == 200
    await home.append("operator", "second-1", "suspended", {"event": "suspended", "operator": {"id": "second-1"}})
    answer = await home.call(SECOND, "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (403, "operator.suspended")
    assert (await home.call(LEAD, "GET", PATH)).status_code == 200


async def test_an_old_key_of_an_operator_is_nobodys(home):
    await home.operator("second-1", SECOND)
    assert (await home.call(SECOND, "GET", PATH)).status_code == 200
    fresh = signer_from_seed(b"f" * 32)
    await home.operator("second-1", fresh)
    assert (await home.call(SECOND, "GET", PATH)).status_code == 401
    assert (await home.call(fresh, "GET", PATH)).status_code == 200


async def test_an_orderly_stop_leaves_what_the_next_life_must_know(tmp_path):
    async with bare(tmp_path, nonces=None, folder=tmp_path / "data") as home:
        await begin(home)
        headers = home.signed(LEAD, "GET", PATH)
        assert (await home.http.get(PATH, headers=headers)).status_code == 200
        home.app.state.porch.leave()
        left = tmp_path / "data" / "nonces"
        assert left.stat().st_mode & 0o777 == 0o600

        from magistrate.api.nonces import take_up

        memory = take_up(tmp_path / "data", fresh=False, now=home.house.now())
        assert memory.floor == home.house.now()
        assert not left.exists()
        crashed = take_up(tmp_path / "data", fresh=False, now=home.house.now())
        assert crashed.floor > home.house.now()


async def test_an_empty_memory_is_not_mistaken_for_none(tmp_path):
    async with bare(tmp_path, nonces=NonceMemory(0)) as home:
        await begin(home)
        assert (await home.call(LEAD, "GET", PATH)).status_code == 200
