"""Small bundles: a tree of Rego that passes the gate, tarballs packed by hand."""

import gzip
import io
import json
import tarfile

MANIFEST = {
    "roots": ["magistrate", "policies", "catalogue", "tiers", "counters", "canaries"],
    "rego_version": 1,
    "revision": "1",
    "metadata": {"contract": 1, "sequence": 1},
}

DECISION = """package magistrate.decision

outcome := "deny" if _denied

outcome := "allow" if not _denied

_denied if {
	some name, _ in data.policies
	data.policies[name].deny[_]
}

seen := input.x

number := to_number(input.number) if "number" in object.keys(input)
"""

REASON = """package magistrate.reason

of(metadata) := {"code": metadata.custom.code}
"""

POLICY = """package policies.refunds

import data.magistrate.reason
import data.policies.refunds.limits

governs := {"refund.create"}

# METADATA
# title: Every refund
# custom: {code: refunds.any, floor: T0}
tier contains reason.of(rego.metadata.rule()) if input.x

# METADATA
# title: Too much
# custom: {code: refunds.large}
deny contains reason.of(rego.metadata.rule()) if not _small

_small if input.x <= limits.small
"""

DATA = {
    "policies": {"refunds": {"limits": {"small": 100}}},
    "catalogue": {"actions": {"refund.create": {"parameters": {"type": "object"}}}},
    "canaries": {
        "small": {"document": "decision", "question": {"x": 1}, "expect": {"outcome": "allow"}},
        "large": {"document": "decision", "question": {"x": 101}, "expect": {"outcome": "deny"}},
    },
}

FILES = {
    "/data.json": json.dumps(DATA).encode(),
    "/magistrate/decision/decision.rego": DECISION.encode(),
    "/magistrate/reason.rego": REASON.encode(),
    "/policies/refunds/refunds.rego": POLICY.encode(),
    "/.manifest": json.dumps(MANIFEST).encode(),
}


def manifest(**other):
    """A manifest's bytes with fields changed; a field that is `...` is left out."""
    return json.dumps({k: v for k, v in {**MANIFEST, **other}.items() if v is not ...}).encode()


def numbered(sequence, files=None):
    """The small bundle under another sequence."""
    said = manifest(revision=str(sequence), metadata={"contract": 1, "sequence": sequence})
    return packed({**FILES, **(files or {}), "/.manifest": said})


def policy(text):
    """The small bundle with another text for its one policy."""
    return packed({**FILES, "/policies/refunds/refunds.rego": text.encode()})


def member(name, content=b"", **fields):
    """One header and its content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o600
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512)


def archive(*members, end=b"\0" * 1024):
    """A gzip file of these members."""
    return gzip.compress(b"".join(members) + end, mtime=0)


def packed(files=None):
    """A bundle of these files."""
    return archive(*(member(name, content) for name, content in (files or FILES).items()))


def unpacked(raw):
    """The files of a bundle, as another reader sees them."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def tree(folder, files=None):
    """A source folder as an author has it: data beside what it belongs to, a test, schemas, capabilities."""
    texts = {
        ".manifest": json.dumps(MANIFEST),
        "magistrate/decision/decision.rego": DECISION,
        "magistrate/reason.rego": REASON,
        "policies/refunds/refunds.rego": POLICY,
        "policies/refunds/refunds_test.rego": "package tests.policies.refunds\n\ntest_it if true\n",
        "policies/refunds/data.json": json.dumps(DATA["policies"]["refunds"]),
        "catalogue/data.json": json.dumps(DATA["catalogue"]),
        "canaries/data.json": json.dumps(DATA["canaries"]),
        "schemas/input.json": "{}",
        "capabilities.json": "{}",
        **(files or {}),
    }
    for name, text in texts.items():
        if text is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return folder
