"""A bundle's tarball, read so strictly that no other reader can see something else in it.

One gzip member, plain USTAR headers of regular files, zeros at the end. Python's `tarfile` and Go's reader disagree
on links, long names, PAX records and on what follows the first empty block; here none of these exist.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Mapping
from typing import Final

from magistrate.core.errors import Malformed

MAX_PACKED: Final = 8 * 1024 * 1024
MAX_UNPACKED: Final = (
    8 * 1024 * 1024
)  # fifty times the demo's; what a small file unpacks to is parsed while others wait
MAX_FILES: Final = 2000
_BLOCK: Final = 512
_NAME: Final = re.compile(r"/(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*(?:\.manifest|[A-Za-z0-9_][A-Za-z0-9_.-]*)")


def unpack(raw: bytes) -> dict[str, bytes]:
    """Return the files of a tarball by absolute name.

    Raises:
        Malformed: `bundle.too_large`, `bundle.archive` or `bundle.name`.
    """
    blocks = _inflate(raw)
    files: dict[str, bytes] = {}
    at = 0
    while any(header := blocks[at : at + _BLOCK]):
        name, size = _entry(header)
        start, end = at + _BLOCK, at + _BLOCK + size
        if end > len(blocks):
            raise Malformed("bundle.archive", f"{name} is cut short")
        if name in files:
            raise Malformed("bundle.name", f"{name} stands twice in the bundle")
        files[name] = blocks[start:end]
        if len(files) > MAX_FILES:
            raise Malformed("bundle.too_large", f"more than {MAX_FILES} files")
        at = end + -size % _BLOCK
    if len(blocks) < at + 2 * _BLOCK or any(blocks[at:]):
        raise Malformed("bundle.archive", "the archive does not end as it should")
    return files


def pack(files: Mapping[str, bytes]) -> bytes:
    """The tarball of these files, in this order; the same files give the same bytes."""
    blocks = b"".join(_member(name, raw) for name, raw in files.items())
    return gzip.compress(blocks + bytes(2 * _BLOCK), mtime=0)


def _member(name: str, raw: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(raw), 0o600
    return header.tobuf(tarfile.USTAR_FORMAT) + raw + bytes(-len(raw) % _BLOCK)


def _inflate(raw: bytes) -> bytes:
    if len(raw) > MAX_PACKED:
        raise Malformed("bundle.too_large", f"{len(raw)} bytes, where at most {MAX_PACKED} are read")
    inflater = zlib.decompressobj(wbits=31)  # gzip only
    try:
        blocks = inflater.decompress(raw, MAX_UNPACKED + 1)
    except zlib.error:
        raise Malformed("bundle.archive", "not a gzip file") from None
    if len(blocks) > MAX_UNPACKED:
        raise Malformed("bundle.too_large", f"more than {MAX_UNPACKED} bytes when unpacked")
    if not inflater.eof:
        raise Malformed("bundle.archive", "the gzip file is cut short")
    if inflater.unused_data:
        raise Malformed("bundle.archive", "bytes follow the gzip file")
    return blocks


def _entry(header: bytes) -> tuple[str, int]:
    """The name and size of one regular file."""
    try:
        entry = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise Malformed("bundle.archive", "a header of the archive is damaged") from None
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise Malformed("bundle.archive", f"{entry.name} is not a regular file")
    if not _NAME.fullmatch(entry.name) or ".." in entry.name or entry.size < 0:
        raise Malformed("bundle.name", f"{entry.name!r} is not a name for a file of a bundle")
    return entry.name, entry.size
