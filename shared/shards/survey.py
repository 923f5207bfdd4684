"""What a shard folder holds, class by class: one pass over its tars, which decodes the images that are shown alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .contact_sheet import Block
from .folder import ShardFolder, rgb_image
from .manifest import ShardPlan

MOST = 50_000  # images that are read


@dataclass(slots=True, kw_only=True)
class ClassSurvey:
    """One class, as it is counted.

    Attributes:
        images: that are to show it.
        agreed: of them, those that the teacher assigns to it.
        first: the first of them, encoded, and where they stand: shard and position.
    """

    images: int = 0
    agreed: int = 0
    first: list[tuple[bytes, ShardPlan, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The classes of a folder by number, in order, and how many images were read."""

    folder: ShardFolder
    classes: Mapping[int, ClassSurvey]
    images: int

    def blocks(self, names: tuple[str, ...], *, most: int) -> list[Block]:
        """The first classes as blocks of a contact sheet.

        Args:
            most: classes.

        Raises:
            DreamError: an image cannot be decoded.
        """
        return [
            Block(
                images=[self.folder.decode(rgb_image, *where) for where in found.first],
                number=str(number),
                name=names[number] if number < len(names) else "",
            )
            for number, found in list(self.classes.items())[:most]
        ]


def survey(folder: ShardFolder, *, columns: int, most: int = MOST) -> Survey:
    """Read the folder's first images, class by class.

    Args:
        columns: images of a class that are kept, at most.
        most: images that are read.

    Raises:
        DreamError: a tar is damaged.
    """
    found: dict[int, ClassSurvey] = {}
    read = 0
    for plan in folder.plans():
        for position, sample in enumerate(folder.samples(plan)):
            if read == most:
                return _sorted(folder, found, read)
            read += 1
            entry = found.setdefault(sample.target, ClassSurvey())
            entry.images += 1
            entry.agreed += int(sample.logits.argmax()) == sample.target
            if len(entry.first) < columns:
                entry.first.append((sample.image, plan, position))
    return _sorted(folder, found, read)


def _sorted(folder: ShardFolder, found: dict[int, ClassSurvey], read: int) -> Survey:
    return Survey(folder=folder, classes=dict(sorted(found.items())), images=read)
