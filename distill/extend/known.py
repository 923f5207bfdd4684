"""New classes that the teacher seems to know already: names tell where there are names, the teacher's answers else."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from ...shared.core.errors import listed
from ...shared.models.classifier import Classifier
from ...shared.report.confusions import name_of
from .new_images import READ, NewImages

LOOKED_AT = 1024  # images of all classes together, or the fewest of each
FEWEST = 32
ALIKE = 0.95  # of a class's images that are answered alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A new class whose images the teacher takes for one old class.

    Attributes:
        new, old: numbers of the two, each among its own kind.
        alike: images that are taken for it.
        images: that were looked at.
    """

    new: int
    old: int
    alike: int
    images: int


def known_classes(teacher: Classifier, new: NewImages, *, patience: float = math.inf) -> list[Known]:
    """The new classes of which the teacher takes more than :data:`ALIKE` of the first images for one old class.

    What it does not know, it takes for several classes: at most 93 % of a class's images for one (CIFAR-10,
    Fashion-MNIST, digits). A class that it knows has its accuracy, so a teacher of 87 % gives few of them away, and one
    of 99 % nearly all. One image more than the share is asked for, so twenty at least.

    Args:
        patience: seconds after which no further class is looked at.
    """
    started = time.monotonic()
    each = max(FEWEST, LOOKED_AT // new.num_classes)
    found: list[Known] = []
    for number in range(new.num_classes):
        if time.monotonic() - started > patience:
            break
        places = (new.labels_N == number).nonzero()[:each, 0]
        answers = torch.cat([teacher.logits(new.pixels_NCHW[part]).argmax(1) for part in places.split(READ)])
        counts_K = answers.bincount(minlength=teacher.num_classes)
        alike = int(counts_K.max())
        if alike >= ALIKE * len(places) + 1:
            found.append(Known(new=number, old=int(counts_K.argmax()), alike=alike, images=len(places)))
    return found


def suspicion(known: list[Known], teacher: Classifier, new: NewImages) -> str | None:
    """A warning of these classes; None if there are none."""
    if not known:
        return None
    pairs = [
        f"{name_of(one.new, new.class_names)!r:.80} may be the teacher's {name_of(one.old, teacher.class_names)!r:.80},"
        f" which it answers for {one.alike} of {one.images} images"
        for one in known
    ]
    return (
        f"the teacher seems to know new classes already: {listed(pairs)}; if they are the same, leave their images out"
        " of --new"
    )
