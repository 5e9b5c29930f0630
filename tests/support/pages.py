"""Runs the shell examples of a page of documentation, in order, where a reader would: a copy of the checkout.

A fenced ``sh`` block is a list of commands. ``./run X`` and ``magistrate X`` run this environment's magistrate; all else
is the shell's. ``# exit 5`` above a command says what it ends with (0 where nothing is said). A ``text`` block right
after is what the block prints, on both channels: ``…`` in a line stands for any characters, a line that is ``…`` alone
for any lines.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.rego_tools import ROOT, opa

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"#\s*exit\s+(\d+)\s*")
HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)")


@dataclass(frozen=True)
class Command:
    """One command, and what it ends with."""

    text: str
    code: int


@dataclass(frozen=True)
class Block:
    """The commands of one fence, the line it begins on, and what they print: None where nothing is said."""

    line: int
    commands: tuple[Command, ...]
    printed: str | None


def blocks(text: str) -> list[Block]:
    """Every shell example of a page, in order."""
    fences = list(FENCE.finditer(text))
    found = []
    for n, fence in enumerate(fences):
        if fence[1] != "sh":
            continue
        after = fences[n + 1] if n + 1 < len(fences) else None
        follows = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(line, tuple(commands(fence[2])), after[2] if follows and after else None))
    return found


def commands(text: str) -> Iterator[Command]:
    """The commands of a block: one a line, unless the line goes on or holds a here-document."""
    code, lines = 0, iter(text.splitlines())
    for line in lines:
        if said := EXIT.fullmatch(line.strip()):
            code = int(said[1])
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = [line]
        while whole[-1].endswith("\\"):
            whole.append(next(lines))
        if until := HEREDOC.search("\n".join(whole)):
            for more in lines:
                whole.append(more)
                if more.strip() == until[1]:
                    break
        yield Command("\n".join(whole), code)
        code = 0


def checkout(folder: Path) -> Path:
    """A copy of what a reader's checkout holds for these examples, with a `run` of this environment."""
    for name in ("rego", "bundles", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    for name in ("run", "bin/magistrate"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m magistrate "$@"\n')
        path.chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What a command sees: this checkout's OPA, folders of its own, and nothing of ours."""
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "MAGISTRATE_OPA": opa(),
        "MAGISTRATE_OPA_SHA256": os.environ.get("MAGISTRATE_OPA_SHA256") or _sha256(opa()),
        "MAGISTRATE_OPA_CACHE": str(folder / "cache"),
    }


def _sha256(path: str) -> str:
    from magistrate.policy.binary import sha256_of

    return sha256_of(Path(path))


def run(page: Path, folder: Path, env: Mapping[str, str]) -> int:
    """Run a page's examples in `folder`; returns how many commands were run.

    Raises:
        AssertionError: a command ended otherwise than the page says, or printed something else.
    """
    ran = 0
    for block in blocks(page.read_text("utf-8")):
        printed = ""
        for command in block.commands:
            done = subprocess.run(
                ["/bin/sh", "-c", command.text],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=600,
            )
            at = f"{page.name}:{block.line}: {command.text}\n{done.stdout}"
            assert done.returncode == command.code, f"ended with {done.returncode}, not {command.code}: {at}"
            printed += done.stdout
            ran += 1
        if block.printed is not None:
            assert matches(block.printed, printed), f"{page.name}:{block.line} printed\n{printed}\nnot\n{block.printed}"
    return ran


def matches(pattern: str, printed: str) -> bool:
    """Whether this is what the page says is printed."""
    lines = []
    for line in pattern.rstrip("\n").split("\n"):
        any_lines = line.strip() == "…"
        lines.append(r"(?:[^\n]*\n)*?" if any_lines else "[^\\n]*".join(map(re.escape, line.split("…"))) + r"[ ]*\n")
    return re.fullmatch("".join(lines), printed.rstrip("\n") + "\n") is not None
