"""The multiple-choice knapsack: one option of each class, at least loss, so that together they save enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNITS = 4096  # that the needed saving is divided into


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to treat a part of a network.

    Attributes:
        saved: what it saves of the cost, 0 or more.
        lost: what it loses of the value.
    """

    saved: float
    lost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a network that may go as a whole, or of which every class takes one of its options.

    Attributes:
        classes: options of each class; the first one of each is to keep everything, and saves nothing.
        without: the option of the whole part's removal; None if it has to stay.
    """

    classes: Sequence[Sequence[Option]]
    without: Option | None = None


def choose(parts: Sequence[Part], needed: float) -> list[list[int] | None] | None:
    """The options of least loss that save what is needed: for each part the index of one option of each class, or None
    where the whole part goes. None if all of them together do not save enough.

    Savings are rounded down to one of :data:`UNITS` parts of what is needed, so that the sum always suffices. The
    choice is exact for savings that are whole multiples of that. It takes time proportional to the number of options.
    """
    unit = needed / UNITS
    lost = np.full(UNITS + 1, np.inf)  # by the units that are saved, the last of which stands for all above
    lost[0] = 0.0
    steps: list[tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray | None, np.ndarray | None]] = []
    for part in parts:
        kept, choices = lost, []
        for options in part.classes:
            kept, option, source = _with_one_of(kept, options, unit)
            choices.append((option, source))
        goes, source = None, None
        if part.without is not None:
            gone, _, source = _with_one_of(lost, [part.without], unit)
            goes = gone < kept
            kept = np.where(goes, gone, kept)
        steps.append((choices, goes, source))
        lost = kept
    if not np.isfinite(lost[UNITS]):
        return None
    at = UNITS
    chosen: list[list[int] | None] = []
    for choices, goes, source in reversed(steps):
        if goes is not None and source is not None and goes[at]:
            chosen.append(None)
            at = int(source[at])
            continue
        indices: list[int] = []
        for option, before in reversed(choices):
            indices.append(int(option[at]))
            at = int(before[at])
        chosen.append(indices[::-1])
    return chosen[::-1]


def _with_one_of(lost: np.ndarray, options: Sequence[Option], unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least loss for each number of saved units with one option more, that option, and the units before it."""
    best = np.full(UNITS + 1, np.inf)
    chosen, source = np.zeros(UNITS + 1, dtype=np.int64), np.zeros(UNITS + 1, dtype=np.int64)
    for index, option in enumerate(options):
        # A little more than the quotient, so that a saving of just so many units is not rounded to one less.
        units = min(UNITS, int(option.saved / unit * (1 + 1e-12))) if unit else UNITS
        total, before = np.full(UNITS + 1, np.inf), np.zeros(UNITS + 1, dtype=np.int64)
        total[units:] = lost[: UNITS + 1 - units] + option.lost
        before[units:] = np.arange(UNITS + 1 - units)
        enough = UNITS - units + int(np.argmin(lost[UNITS - units :]))  # all that reach the last unit with it
        total[UNITS], before[UNITS] = lost[enough] + option.lost, enough
        better = total < best
        best = np.where(better, total, best)
        chosen, source = np.where(better, index, chosen), np.where(better, before, source)
    return best, chosen, source
