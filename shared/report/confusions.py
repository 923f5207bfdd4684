"""What a report shows of a confusion matrix: all of it for few classes, the most frequent mistakes for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .heatmap import HeatMap
from .parts import Html, card, chart, note, percent, side_by_side, table
from .svg import PAGE

FEW = 20  # classes, up to which there is a heat map
PAIRS = 10  # mistakes that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """So many images of one class that were answered as another."""

    true: int
    answered: int
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """The confusions of one network.

    Attributes:
        images: that were shown.
        right: of them, that were answered rightly.
        counts: images by true class (rows) and answered class; empty for many classes.
        mistakes: the most frequent ones, first.
    """

    images: int
    right: int
    counts: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]

    @classmethod
    def of(cls, counts_KK: Tensor) -> Confusion:
        """From a matrix of :func:`~..data.evaluation.evaluate`."""
        wrong_KK = counts_KK.clone().fill_diagonal_(0)
        classes = len(counts_KK)
        # Sorted by number, and for equal ones by class, so that the same matrix gives the same list.
        places = wrong_KK.flatten().sort(descending=True, stable=True).indices[:PAIRS].tolist()
        found = [divmod(place, classes) for place in places]
        return cls(
            images=int(counts_KK.sum()),
            right=int(counts_KK.trace()),
            counts=tuple(map(tuple, counts_KK.tolist())) if classes <= FEW else (),
            mistakes=tuple(
                Mistake(true=t, answered=a, images=int(wrong_KK[t, a])) for t, a in found if wrong_KK[t, a] > 0
            ),
        )


def confusion_parts(networks: Mapping[str, Confusion], class_names: Sequence[str], *, images: str) -> list[Html]:
    """Heat maps of several networks, or tables of the most frequent mistakes where there are many classes.

    Args:
        class_names: one for each class, or empty.
        images: the name of the set that they were shown.
    """
    shown = next(iter(networks.values()), None)
    if shown is None:
        return []
    lead = note(
        f"{shown.images:,} images of {images}. "
        + ("A row is a true class, a column what was answered." if shown.counts else "The most frequent mistakes.")
    )
    if shown.counts:
        return [lead, side_by_side([confusion_chart(n, each, class_names) for n, each in networks.items()])]
    return [lead, *(card(name, "", [_pairs(each, class_names)]) for name, each in networks.items())]


def confusion_chart(name: str, confusion: Confusion, class_names: Sequence[str]) -> Html:
    """The heat map of one network."""
    labels = [name_of(number, class_names) for number in range(len(confusion.counts))]
    heat = HeatMap(title=f"confusion of {name}", counts=confusion.counts, labels=labels)
    wrong = confusion.images - confusion.right
    return chart(heat.small(PAGE), title=name, caption=f"{wrong:,} of {confusion.images:,} images wrong")


def name_of(number: int, class_names: Sequence[str]) -> str:
    """A class for people: its name, or its number where it has none."""
    return class_names[number] if number < len(class_names) else str(number)


def _pairs(confusion: Confusion, class_names: Sequence[str]) -> Html:
    rows = [
        (name_of(each.true, class_names), name_of(each.answered, class_names), each.images)
        for each in confusion.mistakes
    ]
    if not rows:
        return note(f"{percent(confusion.right / confusion.images)} right, and no mistake.")
    return table(("true class", "answered as", "images"), rows)
