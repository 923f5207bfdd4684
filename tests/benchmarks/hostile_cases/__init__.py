"""The hostile things of ``hostile.py``, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator

from . import contents, evaluations, folders, models, surroundings, tars, texts, weights
from .base import Base, Case


def all_cases(base: Base) -> Iterator[Case]:
    """Every case, in the order of the kinds."""
    for module in (folders, tars, contents, models, weights, texts, surroundings, evaluations):
        yield from module.cases(base)
