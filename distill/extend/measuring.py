"""Accuracy on old classes, on new ones, and on all of them, in one label space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ...shared.core.errors import ConfigError
from ...shared.data.evaluation import evaluate
from ...shared.data.labelled_set import LabelledSet
from ...shared.models.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Answers to the images of all classes.

    Attributes:
        confusion_JJ: int64, the images by true class (rows) and by the class that was answered.
        old: number of the old classes, which come first.
    """

    confusion_JJ: Tensor
    old: int

    @classmethod
    def of(
        cls,
        logits_of: Callable[[Tensor], Tensor],
        images: LabelledSet,
        preprocessing: Preprocessing,
        *,
        old: int,
        num_classes: int,
    ) -> Measured:
        """Measure a network. One that knows the old classes alone is never right about the others.

        Args:
            logits_of: logits of pixels, uint8 (N, C, H, W): of all classes, or of the old ones alone.

        Raises:
            ConfigError: the set cannot be read, or lacks images of the old classes or of the new ones.
        """

        def joint_logits_of(pixels_NCHW: Tensor) -> Tensor:
            logits = logits_of(pixels_NCHW)
            return F.pad(logits, (0, num_classes - logits.shape[1]), value=-math.inf)

        confusion_JJ = evaluate(joint_logits_of, images, preprocessing, num_classes=num_classes).confusion
        found = cls(confusion_JJ=confusion_JJ, old=old)
        for rows_MJ, kind in ((found.confusion_JJ[:old], "old"), (found.confusion_JJ[old:], "new")):
            if not bool(rows_MJ.any()):
                raise ConfigError(
                    f"{images.name} has no images of the {kind} classes: give images of all {num_classes:,} classes,"
                    " the old ones first"
                )
        return found

    @property
    def top1_old(self) -> float:
        """Share of the images of old classes that are answered rightly, 0 to 1."""
        return self._top1(0, self.old)

    @property
    def top1_new(self) -> float:
        """The same of the new classes."""
        return self._top1(self.old, len(self.confusion_JJ))

    @property
    def top1_joint(self) -> float:
        """The same of all classes."""
        return self._top1(0, len(self.confusion_JJ))

    def _top1(self, first: int, end: int) -> float:
        right = int(self.confusion_JJ.diagonal()[first:end].sum())
        return right / int(self.confusion_JJ[first:end].sum())
