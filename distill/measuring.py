"""How good a student is while it learns: on real images if there are any, else on images that it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor, nn

from ..shared.data.accuracy import top1
from ..shared.data.images import decode_image
from ..shared.data.labelled import LabelledSet
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.folder import ShardFolder

STORED = 256  # images that the agreement is measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The share of stored images for which a student answers as the teacher did.

    They are the folder's first ones, as they are stored: the student learns from cut and mixed views of them, and none
    is kept back from it. So this tells how far it has come, and is an upper limit of what it does on other images.

    Attributes:
        pixels_NCHW, classes_N: the images, uint8, and the teacher's classes for them.
    """

    pixels_NCHW: Tensor
    classes_N: Tensor
    preprocessing: Preprocessing
    seconds: float = 0.0

    @classmethod
    def of(cls, shards: ShardFolder, preprocessing: Preprocessing) -> Agreement:
        """With the first images of the folder.

        Raises:
            DreamError: a shard is damaged.
        """
        samples = list(islice(chain.from_iterable(map(shards.samples, shards.plans())), STORED))
        return cls(
            pixels_NCHW=torch.stack([decode_image(sample.image, preprocessing.channels) for sample in samples]),
            classes_N=torch.from_numpy(np.stack([sample.logits for sample in samples]).argmax(1)),
            preprocessing=preprocessing,
        )

    def __call__(self, student: nn.Module) -> dict[str, float]:
        return {"agreement": self.share(student)}

    @torch.no_grad()
    def share(self, student: nn.Module) -> float:
        """The share, 0 to 1. Puts the student in eval mode."""
        student.eval()
        device = next(student.parameters()).device
        found = [
            student(self.preprocessing.normalize(part_NCHW.to(device))).argmax(1).cpu()
            for part_NCHW in self.pixels_NCHW.split(64)
        ]
        return float((torch.cat(found) == self.classes_N).float().mean())


@dataclass(frozen=True, slots=True, kw_only=True)
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
