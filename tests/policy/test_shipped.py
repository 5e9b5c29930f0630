"""The shipped history: at least three generations that really differ, none of them other than its name says."""

import json

import pytest

from magistrate.core.values import thaw
from magistrate.policy.archive import Archive
from magistrate.policy.build import build
from magistrate.policy.canaries import failures
from magistrate.policy.sidecar import Sidecar
from tests.support.rego_tools import REGO, ROOT

SHIPPED = ROOT / "bundles"


@pytest.fixture
def archive(binary):
    return Archive(SHIPPED, binary)


def test_three_generations_are_there_and_the_newest_is_what_the_rego_builds_to(archive, binary):
    digests = archive.digests()

    assert len(digests) >= 3
    assert [archive.load(digest).sequence for digest in digests] == list(range(1, len(digests) + 1))
    assert archive.load(digests[-1]).raw == build(binary, REGO), "raise `sequence` and build a new generation"


def test_every_file_beside_the_index_is_in_it():
    named = {
        row["digest"].removeprefix("sha256:") for row in json.loads((SHIPPED / "index.json").read_bytes())["bundles"]
    }

    assert {path.name.removesuffix(".tar.gz") for path in SHIPPED.glob("*.tar.gz")} == named


def test_the_generations_differ_in_a_limit_a_rule_and_a_field(archive):
    first, second, third = (archive.load(digest) for digest in archive.digests()[:3])
    mail, deploys = "/policies/mail/mail.rego", "/policies/deploys/deploys.rego"

    def small(bundle):
        return bundle.data["policies"]["refunds"]["limits"]["small"]

    def fields(bundle):
        return set(thaw(bundle.data["catalogue"]["actions"]["service.deploy"]["parameters"]["properties"]))

    assert small(first) < small(second)
    assert first.files[mail] != second.files[mail]
    assert fields(third) - fields(second) == {"ticket"}
    assert second.files[deploys] != third.files[deploys]


@pytest.mark.parametrize("number", range(3))
async def test_every_generation_passes_its_own_canaries(archive, binary, number):
    bundle = archive.load(archive.digests()[number])
    sidecar = Sidecar(binary, bundle, deadline=30.0)
    await sidecar.start()
    try:
        assert await failures(sidecar, bundle) == []
    finally:
        await sidecar.stop()
