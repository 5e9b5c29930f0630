"""Set-up: from this machine, with the code, word for word."""

import pytest

from magistrate.core.signature import sign_document
from tests.api.house import LEAD, SECOND, bare

ASK = {"id": "lead-1", "public_key": LEAD.public.hex()}


async def post(home, body, **headers):
    return await home.call("", "POST", "/v1/setup", body, **headers)


async def test_the_statement_is_shown_signed_and_begins_the_ledger(tmp_path):
    begun = []

    async def told():
        begun.append(home.size)

    async with bare(tmp_path, begun=told) as home:
        code = home.setup.new_code(lambda: "code-1")
        shown = await post(home, {"code": code, **ASK})
        assert shown.status_code == 200
        assert home.size == 0

        signed = sign_document(shown.json()["statement"], LEAD)
        made = await post(home, {"code": code, "statement": signed})

        assert made.status_code == 201
        assert made.json().keys() == {"leaf", "index", "origin"}
        assert begun == [1]
        again = await post(home, {"code": code, "statement": signed})
        assert (again.status_code, again.json()["code"]) == (409, "setup.done")


async def test_a_wrong_code_shows_nothing(unset):
    unset.setup.new_code(lambda: "code-1")
    for code in ("code-2", ""):
        answer = await post(unset, {"code": code, **ASK})
        assert (answer.status_code, answer.json()["code"]) == (403, "setup.code")
    unset.wall[0] += 900
    assert (await post(unset, {"code": "code-1", **ASK})).json()["code"] == "setup.code"
    assert unset.size == 0


async def test_what_was_not_shown_is_not_begun(unset):
    code = unset.setup.new_code(lambda: "code-1")
    shown = (await post(unset, {"code": code, **ASK})).json()["statement"]
    for changed, signer, status in (
        ({"demo": True}, LEAD, 403),
        ({"bundle": "sha256:" + "0" * 64}, LEAD, 403),
        ({"operator": {**shown["operator"], "roles": ["everything"]}}, LEAD, 403),
        ({}, SECOND, 400),
    ):
        signed = (
            sign_document({**shown, **changed}, signer)
            if signer is LEAD
            else {
                **shown,
                "signature": "0x" + SECOND.sign(b"something").hex(),
            }
        )
        answer = await post(unset, {"code": code, "statement": signed})
        assert answer.status_code == status, changed
    assert unset.size == 0


@pytest.mark.parametrize(
    "body", [{}, {"code": "x"}, {"code": 1, **ASK}, {"code": "x", "statement": "y"}, {"code": "x", **ASK, "more": 1}]
)
async def test_other_bodies_are_refused(unset, body):
    assert (await post(unset, body)).status_code in (400, 403)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
async def test_it_is_done_on_the_machine_itself(unset, header):
    code = unset.setup.new_code(lambda: "code-1")
    answer = await post(unset, {"code": code, **ASK}, **{header: "203.0.113.9"})
    assert (answer.status_code, answer.json()["code"]) == (403, "setup.loopback")


async def test_from_elsewhere_it_is_not_done(unset):
    import httpx2

    transport = httpx2.ASGITransport(app=unset.app, client=("203.0.113.9", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as far:
        answer = await far.post("/v1/setup", json={"code": "x", **ASK})
    assert answer.json()["code"] == "setup.loopback"
