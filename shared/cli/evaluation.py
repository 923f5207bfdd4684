"""The teacher's accuracy, shown before any work: students are compared with it, and it tells whether labels fit."""

from __future__ import annotations

import math
import sys

from ..core.errors import printable
from ..data.accuracy import Accuracy, measure_accuracy
from ..data.labelled import LabelledSet
from ..models.classifier import Classifier
from .effects import warn


def measure_teacher(teacher: Classifier, images: LabelledSet) -> float:
    """Top-1 accuracy of the teacher, 0 to 1, also printed on stderr, with a warning if it is no better than chance.

    Raises:
        ConfigError: as :func:`~..data.accuracy.measure_accuracy`.
    """
    found = measure_accuracy(teacher.network, images, teacher.preprocessing)
    text = f"teacher: top-1 {found.top1:.2%} of {found.images:,} images ({images.name})"
    print(printable(text), file=sys.stderr, flush=True)
    if not better_than_chance(found, teacher.num_classes):
        warn(
            f"the teacher's top-1 is no better than chance on {images.name}: check the order of the classes, --mean,"
            " --std and --weights"
        )
    return found.top1


def better_than_chance(found: Accuracy, num_classes: int) -> bool:
    """Whether an accuracy is above that of guessing by three standard deviations of the latter."""
    chance = 1 / num_classes
    return found.top1 > chance + 3 * math.sqrt(chance * (1 - chance) / found.images)
