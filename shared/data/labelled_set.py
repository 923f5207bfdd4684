"""What every kind of evaluation set is opened as: labelled images that are decoded while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Labelled images, which are decoded while they are read.

    Attributes:
        name: as given to ``--eval``.
        count: number of images; None if it is unknown before all are read.
        read: begins to read, and returns an iterator over (image, label).
        classes: number of classes that the set says it has; None if it does not say, and labels are checked one by one.
        class_names: of those classes, where the set tells them; else empty.
        remarks: what its user should know of the order of its classes, or of its part, for stderr.
    """

    name: str
    count: int | None
    read: Callable[[], Iterator[tuple[Image.Image, int]]]
    classes: int | None = None
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
