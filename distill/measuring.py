"""How good a student is while it learns: on real images if there are any, else on images that it learns from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ..shared.cli.evaluation import measure_teacher
from ..shared.data.accuracy import top1
from ..shared.data.images import decode_image
from ..shared.data.labelled import LabelledSet
from ..shared.models.classifier import Classifier
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.folder import ShardFolder

STORED = 256  # images that the agreement is measured on
BATCH = 64  # of them, in a forward pass


class Agreement:
    """The share of stored images for which a student answers as the teacher did.

    They are the folder's first ones, as they are stored: the student learns from cut and mixed views of them, and none
    is kept back from it. So this tells how far it has come, and is an upper limit of what it does on other images.
    """

    seconds = 0.0  # it takes hardly any time

    def __init__(self, shards: ShardFolder) -> None:
        self.shards = shards
        self.preprocessing = Preprocessing.of(shards.manifest.teacher)

    @cached_property
    def _stored(self) -> tuple[Tensor, Tensor]:
        """The images, uint8 (N, C, H, W), and the teacher's classes for them, (N,). Read when they are first needed:
        by then the shards were checked."""
        decode = partial(decode_image, channels=self.preprocessing.channels)
        pixels, samples = zip(*islice(self.shards.decoded(decode), STORED), strict=True)
        return torch.stack(pixels), torch.from_numpy(np.stack([sample.logits for sample in samples]).argmax(1))

    def __call__(self, student: nn.Module) -> dict[str, float]:
        return {"agreement": self.share(student)}

    @torch.no_grad()
    def share(self, student: nn.Module) -> float:
        """The share, 0 to 1. Puts the student in eval mode."""
        student.eval()
        like = next(student.parameters())
        pixels_NCHW, classes_N = self._stored
        parts = (self.preprocessing.normalize(part.to(like.device)).to(like.dtype) for part in pixels_NCHW.split(BATCH))
        found_N = torch.cat([student(x_NCHW).argmax(1).cpu() for x_NCHW in parts])
        return float((found_N == classes_N).double().mean())


@dataclass(frozen=True, slots=True)
class Top1:
    """The student's accuracy on real images, beside the teacher's.

    Attributes:
        teacher_top1: None where there is no teacher.
        seconds: that the teacher's took.
    """

    images: LabelledSet
    preprocessing: Preprocessing
    teacher_top1: float | None
    seconds: float

    def __call__(self, student: nn.Module) -> dict[str, float]:
        found = {"student_top1": top1(student, self.images, self.preprocessing)}
        return found if self.teacher_top1 is None else {**found, "teacher_top1": self.teacher_top1}


def measure_first(
    teacher: Classifier | None, images: LabelledSet | None, shards: ShardFolder
) -> tuple[float | None, Agreement | Top1]:
    """The teacher's top-1, and what is to measure the student. It comes before the work, so that images that do not fit
    are noticed then.

    Args:
        images: None if there are none.
    """
    if images is None:
        return None, Agreement(shards)
    started = time.monotonic()
    found = measure_teacher(teacher, images) if teacher else None
    preprocessing = Preprocessing.of(shards.manifest.teacher)
    return found, Top1(images, preprocessing, found, time.monotonic() - started)
