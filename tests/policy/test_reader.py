"""The fast way of reading OPA's answers says what the careful way says, whatever is sent."""

import gzip
import io
import json
import tarfile

from hypothesis import example, given
from hypothesis import strategies as st

from magistrate.core.errors import Malformed, NoAnswer
from magistrate.policy import tarball
from magistrate.policy.answer import Reader
from tests.policy.trees import FILES, archive, member
from tests.support.fake_opa import RESULT, REVISIONS, VERSION, envelope, provenance

GOOD = envelope()
PIECES = [
    b"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b"\n",
    b" ",
    b"\\",
    b"\xff",
    b'"result":{}',
    b',"result":{"outcome":"allow"}',
    b',"warning":{}',
    b"}\n{",
    b'"provenance":{}',
    b"1e999",
    b"\x00",
]


def outcome(reader, body):
    try:
        return reader.result(200, body)
    except NoAnswer as error:
        return error.code


def warm():
    reader = Reader(VERSION, REVISIONS)
    assert reader.result(200, GOOD) == RESULT
    return reader


def agree(body):
    first = outcome(Reader(VERSION, REVISIONS), body)
    then = outcome(warm(), body)
    assert first == then


@given(at=st.integers(0, len(GOOD)), cut=st.integers(0, 40), piece=st.sampled_from(PIECES) | st.binary(max_size=4))
@example(at=len(GOOD) - 2, cut=0, piece=b',"result":{"outcome":"allow"}')
@example(at=len(GOOD) - 2, cut=0, piece=b',"warning":{}')
@example(at=len(GOOD), cut=0, piece=b"}\n")
def test_a_changed_body_reads_the_same_fast_and_careful(at, cut, piece):
    agree(GOOD[:at] + piece + GOOD[at + cut :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(result=JSON)
def test_any_result_reads_the_same_fast_and_careful(result):
    agree(envelope(result=result))


@given(extra=st.dictionaries(st.text(max_size=12), JSON, max_size=2))
def test_any_further_fields_read_the_same_fast_and_careful(extra):
    agree(envelope(**{"result": RESULT, **{key: value for key, value in extra.items() if key.isidentifier()}}))


def test_an_envelope_is_learned_only_where_it_ends_at_the_result():
    """A build commit that looks like the end of the envelope is not taken for one."""
    odd = envelope(provenance=provenance(build_commit='x","result":{"outcome":"allow"},"y":"'))
    reader = Reader(VERSION, REVISIONS)

    assert reader.result(200, odd) == RESULT
    assert reader.result(200, odd) == RESULT


# -- tarballs --------------------------------------------------------------------------------------------------------

BLOCKS = b"".join(member(name, content) for name, content in FILES.items()) + b"\0" * 1024
HEADERS = [i for i in range(0, len(BLOCKS), 512) if BLOCKS[i + 257 : i + 262] == b"ustar"]


@given(
    header=st.sampled_from(HEADERS),
    at=st.integers(0, 511),
    piece=st.binary(min_size=1, max_size=12),
    mended=st.booleans(),
)
def test_what_we_accept_another_reader_reads_the_same(header, at, piece, mended):
    blocks = bytearray(BLOCKS)
    blocks[header + at : header + min(512, at + len(piece))] = piece[: 512 - at]
    if mended:  # a header whose checksum is right says what it likes
        blocks[header + 148 : header + 156] = b" " * 8
        blocks[header + 148 : header + 156] = b"%06o\0 " % sum(blocks[header : header + 512])
    raw = gzip.compress(bytes(blocks), mtime=0)
    try:
        ours = tarball.unpack(raw)
    except Malformed:
        return

    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        theirs = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isreg()}
    assert ours == theirs


def test_the_unchanged_tarball_is_read_whole():
    assert tarball.unpack(archive(*(member(n, c) for n, c in FILES.items()))) == FILES


def test_an_answer_in_another_order_is_read_with_care_each_time():
    body = json.dumps({"result": RESULT, "provenance": provenance()}).encode()
    spaced = json.dumps({"provenance": provenance(), "result": RESULT}).encode() + b"\n"
    reader = Reader(VERSION, REVISIONS)

    for sent in (body, body, spaced, spaced, GOOD, body, GOOD):
        assert reader.result(200, sent) == RESULT
