"""What a file keeps of a network: enough to load it again and to notice another one. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.records import check_range, check_sha256

IN_MEMORY = "a network in memory"
MANIFEST_OF_SHARDS = "the manifest of these shards"
MOST_CLASSES = 100_000
LARGEST_SIDE = 8192  # pixels
LONGEST_TEXT = 4096  # characters of a name, which may be a path
SAME = 1e-3  # largest difference of the probes of one network on two devices, see ``difference``

Probes = tuple[tuple[float, ...], ...]
"""Logits of the probes of :mod:`.probes`, a row for each; empty where they were not computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecord:
    """A classifier as a manifest describes it.

    Attributes:
        name, weights: as ``--teacher`` and ``--weights`` take them, paths made absolute; the name is None for a module
            that was given in memory, which no name loads.
        sha256: of the weights, whatever file format they came in.
        mean, std, image_size: see ``Preprocessing`` in :mod:`.preprocessing`.
        num_classes: width of the logits.
        class_names: one for each class, or empty.
        probe_logits: what it computes for the probes.

    Raises:
        ValueError: a value lies outside its range.
    """

    name: str | None
    weights: str | None
    sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    num_classes: int
    class_names: tuple[str, ...]
    probe_logits: Probes = ()

    def __post_init__(self) -> None:
        for field in ("name", "weights"):
            if (text := getattr(self, field)) is not None:
                check_text(field, text)
        check_description(self.mean, self.std, self.image_size, self.num_classes, self.class_names)
        check_sha256("sha256", self.sha256)
        check_probes(self.probe_logits, self.num_classes)

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name or IN_MEMORY

    @property
    def channels(self) -> int:
        return len(self.mean)

    def identity(self) -> dict[str, object]:
        """What the images depend on, to the bit. The same network may lie elsewhere.

        The probes are not in it, since they differ by rounding: see :func:`difference`.
        """
        return {
            "sha256": self.sha256,
            "mean": list(self.mean),
            "std": list(self.std),
            "image_size": self.image_size,
        }


def difference(found: Probes, recorded: Probes) -> float:
    """The largest difference between two networks' logits of the probes, as a share of the spread of these logits.

    The spread is the root mean square of the recorded logits about their mean, over all probes and classes, and at
    least a thousandth of the largest logit. The difference is 0 where either was not computed, and infinite for another
    number of classes.
    """
    if not found or not recorded:
        return 0.0
    ours, theirs = [value for row in found for value in row], [value for row in recorded for value in row]
    if len(ours) != len(theirs):
        return math.inf
    mean = sum(theirs) / len(theirs)
    spread = math.sqrt(sum((value - mean) ** 2 for value in theirs) / len(theirs))
    largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return largest / max(spread, 1e-3 * max(map(abs, theirs)), 1e-30)


def computes_the_same(found: Probes, recorded: Probes) -> bool:
    """Whether two networks are one, but for rounding: that of another device, number of threads, or order of sums."""
    return difference(found, recorded) <= SAME


def check_description(
    mean: Sequence[float], std: Sequence[float], image_size: int, num_classes: int, class_names: Sequence[str]
) -> None:
    """Refuse what cannot be a classifier's input and classes; for ``__post_init__`` of a record.

    Raises:
        ValueError: a value lies outside its range.
    """
    if len(mean) not in (1, 3) or len(std) != len(mean):
        raise ValueError("mean and std must be one number each or three each")
    for value in mean:
        check_range("mean", value, -1e6, 1e6)
    for value in std:
        check_range("std", value, 1e-9, 1e6)
    check_range("image_size", image_size, 1, LARGEST_SIDE)
    check_range("num_classes", num_classes, 1, MOST_CLASSES)
    if len(class_names) not in (0, num_classes):
        raise ValueError(f"{len(class_names)} class_names for {num_classes} classes")
    for text in class_names:
        check_text("class_names", text)


def check_probes(probes: Probes, num_classes: int) -> None:
    """Refuse logits that are not one row of ``num_classes`` finite numbers for each probe; for ``__post_init__``.

    Raises:
        ValueError: they are not.
    """
    if probes and (len(probes) != 4 or any(len(row) != num_classes for row in probes)):
        raise ValueError(f"probe_logits must be 4 rows of {num_classes} numbers")
    if not all(math.isfinite(value) for row in probes for value in row):
        raise ValueError("probe_logits must be finite numbers")


def check_text(name: str, text: str) -> None:
    """Refuse a text that a terminal would not show as it stands; for ``__post_init__``.

    Raises:
        ValueError: it is too long, or holds control characters.
    """
    if len(text) > LONGEST_TEXT or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise ValueError(f"{name} holds control characters, or more than {LONGEST_TEXT} characters: {text!r:.60}")
