"""The knapsack against brute force."""

from __future__ import annotations

import itertools
import random

import pytest

from dreamdistill.prune.knapsack import UNITS, Option, Part, choose


def option(saved: float, lost: float) -> Option:
    return Option(saved=saved, lost=lost)


def totals(parts: list[Part], chosen: list[list[int] | None]) -> tuple[float, float]:
    """Saved and lost."""
    taken: list[Option] = []
    for part, indices in zip(parts, chosen, strict=True):
        if indices is None:
            assert part.without is not None
            taken.append(part.without)
        else:
            taken += [options[index] for options, index in zip(part.classes, indices, strict=True)]
    return sum(each.saved for each in taken), sum(each.lost for each in taken)


def brute_force(parts: list[Part], needed: float) -> float | None:
    """The least loss of all choices that save enough."""
    ways = [
        [list(indices) for indices in itertools.product(*(range(len(options)) for options in part.classes))]
        + ([None] if part.without else [])
        for part in parts
    ]
    found = [totals(parts, list(each)) for each in itertools.product(*ways)]
    return min((lost for saved, lost in found if saved >= needed), default=None)


def random_parts(draw: random.Random) -> list[Part]:
    def options() -> list[Option]:
        more = [option(draw.randint(1, 60), draw.random()) for _ in range(draw.randint(1, 3))]
        return [option(0, 0), *more]

    return [
        Part(
            classes=[options() for _ in range(draw.randint(0, 2))],
            without=option(draw.randint(20, 120), draw.random() * 2) if draw.random() < 0.5 else None,
        )
        for _ in range(4)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_is_the_best_one_of_all(seed: int) -> None:
    draw = random.Random(seed)
    parts = random_parts(draw)
    needed = UNITS // draw.choice([16, 32, 64])  # savings are whole multiples of a unit
    chosen, expected = choose(parts, needed), brute_force(parts, needed)
    if expected is None:
        assert chosen is None
    else:
        assert chosen is not None
        saved, lost = totals(parts, chosen)
        assert saved >= needed
        assert lost == pytest.approx(expected)


def test_a_saving_between_two_units_is_never_counted_as_more() -> None:
    needed = 1000.0
    just_too_little = [Part(classes=[[option(0, 0), option(needed - 1e-3, 1)]])]
    assert choose(just_too_little, needed) is None
    assert choose([Part(classes=[[option(0, 0), option(needed, 1)]])], needed) == [[1]]


def test_a_part_that_goes_takes_its_classes_with_it() -> None:
    part = Part(classes=[[option(0, 0), option(5, 1)], [option(0, 0), option(5, 1)]], without=option(12, 1.5))
    assert choose([part], 10) == [None]
    assert choose([part], 5) in ([[1, 0]], [[0, 1]])
