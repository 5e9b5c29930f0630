"""The page of reasons is what the Rego's METADATA says, one anchor a code; every link of ours ends there."""

import re

import pytest

from magistrate.core import reasons as links
from magistrate.policy import places, reasons, source
from tests.support import reference
from tests.support.rego_tools import REGO, ROOT

PAGE = ROOT / "docs" / "reasons.md"


@pytest.fixture(scope="module")
def found(binary):
    return places.of(source.trees(binary, REGO)).public()


def test_the_page_is_what_the_program_would_write(found):
    assert PAGE.read_text() == reasons.page(found), "run: magistrate policy reasons rego --out docs/reasons.md"


def test_every_code_of_the_shipped_rego_has_one_place_and_its_link_ends_there():
    anchors = re.findall(r'<a id="([^"]+)"></a>', PAGE.read_text())

    assert len(anchors) == len(set(anchors))
    assert {links.anchor(code) for code in reference.reasons()} == set(anchors)
    assert links.link("refunds.budget") == "docs/reasons.md#refunds-budget"
    assert (ROOT / links.PAGE) == PAGE


def test_an_entry_says_what_it_means_what_to_do_and_where(found):
    _, _, entry = reasons.page(found).partition('<a id="refunds-budget"></a>')
    entry = entry.partition("<a id=")[0]

    assert "### `refunds.budget`" in entry
    assert "The daily refund budget would be exceeded." in entry
    assert "What to do: wait until tomorrow, or ask finance to raise the limit" in entry
    assert "It denies (`deny` in `rego/policies/refunds/refunds.rego`)" in entry


def test_an_authors_words_are_no_markup(binary, tmp_path):
    (tmp_path / "p.rego").write_text(
        'package policies.p\n\n# METADATA\n# title: "<script>[x](y) `z`"\n# custom: {code: p.x}\ndeny contains 1\n'
    )

    text = reasons.page(places.of(source.trees(binary, tmp_path)).public())

    assert r"\<script\>\[x\](y) \`z\`." in text


def test_a_reason_without_a_code_has_no_link():
    assert links.links([{"code": "a.b"}, {"title": "x"}, {"code": ""}]) == {"a.b": "docs/reasons.md#a-b"}
