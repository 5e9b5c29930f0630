"""OPA's bundle protocol at the porch: who is let in, what the entity tag says, and what is listed and counted."""

import pytest

from tests.api import real
from tests.api.house import LEAD

PATH = "/opa/v1/bundles/active.tar.gz"


@pytest.fixture
async def open_house(tmp_path):
    async with real.opened(tmp_path) as home:
        yield home


async def test_the_bundle_is_sent_once_and_not_again(open_house):
    size = open_house.size
    first = await open_house.call("ada", "GET", PATH, prefer="modes=snapshot,delta")
    tag = first.headers["etag"]

    assert (first.status_code, first.headers["content-type"]) == (200, "application/gzip")
    assert first.headers["cache-control"] == "private, no-cache"
    assert tag.startswith('"sha256:')
    for said in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await open_house.call("ada", "GET", PATH, if_none_match=said)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for said in ('"other"', tag.strip('"'), tag[:-2] + '"', ""):
        again = await open_house.call("ada", "GET", PATH, if_none_match=said)
        assert (again.status_code, again.content) == (200, first.content)
    assert open_house.size == size


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({}, 401, "credential.missing"),
        ({"authorization": "Bearer mk_" + "A" * 43}, 401, "credential.unknown"),
        ({"authorization": "Bearer "}, 401, "credential.malformed"),
        ({"authorization": "Basic YTpi"}, 401, "credential.malformed"),
    ],
)
async def test_without_a_credential_that_stands_nothing_is_sent(open_house, sent, status, code):
    answer = await open_house.http.get(PATH, headers=sent)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "etag" not in answer.headers


async def test_rego_says_who_may(home):
    answer = await home.call("mesh-watch", "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (403, "access.no")

    home.table.answers["access"] = lambda asked: {
        "allowed": (asked["verb"], asked["relation"]) == ("bundle.pull", "none"),
        "reason": {"code": "", "title": "", "remedy": "", "policy": ""},
    }
    answer = await home.call("mesh-watch", "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "key.missing")  # let in; this house keeps no such key


async def test_with_opa_down_nothing_is_sent(home):
    home.table.silent = True
    answer = await home.call("ada", "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "opa.timeout")


async def test_before_set_up_nothing_is_sent(unset):
    answer = await unset.http.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "setup.required")


async def test_a_query_is_none_of_ours(open_house):
    answer = await open_house.call("ada", "GET", PATH + "?wait=60")
    assert (answer.status_code, answer.json()["code"]) == (400, "input.query")


async def test_the_keys_are_listed_beside_the_others(open_house):
    rows = (await open_house.call("ada", "GET", "/v1/keys")).json()["items"]

    assert [row["role"] for row in rows] == ["warrant", "checkpoint", "policy", "bundle", "bundle"]
    assert [row["state"] for row in rows if "state" in row] == ["current", "next"]
    assert all(row["pem"].startswith("-----BEGIN PUBLIC KEY-----\n") for row in rows[3:])
    assert [row["algorithm"] for row in rows] == ["Ed25519", "Ed25519", "Ed25519", "ES256", "ES256"]


async def test_pulls_are_counted(open_house):
    tag = (await open_house.call(LEAD, "GET", PATH)).headers["etag"]
    await open_house.call("ada", "GET", PATH, if_none_match=tag)

    told = (await open_house.call("ada", "GET", "/metrics")).text
    assert 'magistrate_bundle_pulls_total{answer="sent"} 1' in told
    assert 'magistrate_bundle_pulls_total{answer="unchanged"} 1' in told
