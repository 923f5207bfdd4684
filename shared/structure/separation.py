"""The parts of a network that can go together, told from those that break it, by few tries where most can go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

T = TypeVar("T")

TRIES = 200  # of selections of parts, each a forward pass or two: the parts of untried ones count as bad


def separate(parts: Sequence[T], works: Callable[[Sequence[T]], bool]) -> tuple[list[T], list[T]]:
    """The parts that can go, all of them together, and those that cannot.

    All are tried at once, and in halves where that fails.

    Args:
        works: whether the network works without these parts. Where it works without some of them, it is taken to work
            without any of these.
    """
    tries = count(1)

    def search(tried: Sequence[T]) -> tuple[list[T], list[T]]:
        if not tried or works(tried):
            return list(tried), []
        if len(tried) == 1 or next(tries) > TRIES:
            return [], list(tried)
        middle = len(tried) // 2
        first, second = search(tried[:middle]), search(tried[middle:])
        return first[0] + second[0], first[1] + second[1]

    good, bad = search(parts)
    if good and bad and not works(good):
        return [], list(parts)
    return good, bad
