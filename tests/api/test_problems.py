"""One table from the error tree to HTTP."""

import orjson
import pytest

from magistrate.api.problems import problem, status_of
from magistrate.core import errors


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Malformed, 400),
        (errors.NotCanonical, 400),
        (errors.Unauthenticated, 401),
        (errors.Refused, 403),
        (errors.Absent, 404),
        (errors.Conflict, 409),
        (errors.Moved, 409),
        (errors.Unavailable, 503),
        (errors.NoAnswer, 503),
        (errors.Forged, 400),
        (errors.Broken, 500),
        (errors.ProofFailed, 500),
    ],
)
def test_each_fault_has_its_status(kind, status):
    assert status_of(kind("some.code", "detail")) == status


def test_every_kind_of_error_is_in_the_table():
    kinds = [errors.MagistrateError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {status_of(kind("x.y", "z")) for kind in kinds[1:]} == {400, 401, 403, 404, 409, 500, 503}


@pytest.mark.parametrize(
    ("code", "status"),
    [("input.too_large", 413), ("input.slow", 408), ("input.host", 421), ("warrant.not_on_record", 400)],
)
def test_a_few_codes_say_more(code, status):
    assert status_of(errors.Malformed(code, "")) == status


def test_a_problem_says_what_is_needed_and_no_more():
    reason = {"code": "a.b", "title": "A", "remedy": "", "policy": "policies.a"}
    answer = problem(errors.Refused("a.b", "no", reasons=[reason], hint="ask", pointer="/x"))
    assert orjson.loads(answer.body) == {
        "type": "urn:magistrate:problem:a.b",
        "title": "Forbidden",
        "status": 403,
        "detail": "no",
        "code": "a.b",
        "hint": "ask",
        "pointer": "/x",
        "reasons": [reason],
        "links": {"a.b": "docs/reasons.md#a-b"},
    }
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" not in answer.headers
    assert int(problem(errors.NoAnswer("opa.timeout", "")).headers["retry-after"]) > 0
