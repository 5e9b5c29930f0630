"""Texts changed by the words that rules look for, and how far one text is from another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MOST: Final = 64  # words that are tried on one text
_SEPARATORS: Final = "@:/"


def edited(value: str, words: list[str]) -> Iterator[str]:
    """A text changed by the words the rules look for: without them, with one, or another one in its place."""
    held = [word for word in words if word.lower() in value.lower()]
    for word in held:
        yield _without(value, word)
    if len(held) > 1:
        bare = value
        for word in held:
            bare = _without(bare, word)
        yield bare
    if any(letter.isspace() for letter in value):
        yield from (f"{value} {word}" for word in words[:MOST])
        return
    for word in words[:MOST]:
        yield word
        yield from (value.rsplit(mark, 1)[0] + mark + word for mark in _SEPARATORS if mark in value)
        yield value + word
    yield from (value.rsplit(mark, 1)[0] + mark + "other" for mark in _SEPARATORS if mark in value)


def _without(value: str, word: str) -> str:
    """The text with no such word left, nor one that taking the word out had made."""
    while (shorter := re.sub(re.escape(word), "", value, flags=re.IGNORECASE)) != value:
        value = shorter
    return value


def distance(one: str, two: str) -> int:
    """How many characters were taken out, or differ between the common beginning and the common end."""
    rest = iter(one)
    if all(letter in rest for letter in two):
        return len(one) - len(two)
    most = min(len(one), len(two))
    head = next((i for i in range(most) if one[i] != two[i]), most)
    tail = next((i for i in range(most - head) if one[-1 - i] != two[-1 - i]), most - head)
    return len(one) + len(two) - 2 * (head + tail)
