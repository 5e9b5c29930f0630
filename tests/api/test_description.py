"""The description says what the routes do."""

import re

from magistrate.api.app import ENDPOINTS


def refs(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from refs(item)


async def test_every_route_is_described_and_every_name_is_there(home):
    said = home.app.openapi()

    assert said["openapi"] == "3.1.0"
    for endpoint in ENDPOINTS:
        path = re.sub(r"{(\w+):path}", r"{\1}", endpoint.path)
        operation = said["paths"][path][endpoint.method.lower()]
        assert operation["summary"] == endpoint.summary
        assert "422" not in operation["responses"]
        assert ("requestBody" in operation) == bool(endpoint.body)
        assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
        assert operation["security"] == ([] if endpoint.open else [{"apiKey": []}, {"signature": []}])
    schemas = said["components"]["schemas"]
    for ref in refs(said):
        assert ref.removeprefix("#/components/schemas/") in schemas, ref
    ids = [o["operationId"] for p in said["paths"].values() for o in p.values()]
    assert len(ids) == len(set(ids))


async def test_a_route_outside_the_contracts_is_not_there(home):
    paths = set(home.app.openapi()["paths"])
    assert "/v1/bundles/{digest}/activate" not in paths
    assert not any(path.startswith(("/tile", "/access", "/console", "/docs")) for path in paths)


LASTS_NOT = {"/v1/replays", "/v1/setup"}  # a certificate is not kept; a set-up code is spent once by itself


def test_every_route_that_makes_something_takes_an_idempotency_key():
    makes = [e for e in ENDPOINTS if e.method == "POST" and any(status == 201 for status, _ in e.answers)]
    keyless = {e.path for e in makes if "Idempotency-Key" not in e.headers}
    assert keyless == LASTS_NOT
