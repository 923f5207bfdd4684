"""Views: what the student sees of a batch. Images are cropped, flipped and mixed here.

A view knows no teacher and no loss; what the student is to answer is the criterion's (:mod:`.criterion`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shared.core.launch import Place, Rows
from ..shared.data.augment import random_flip, random_resized_crop, random_shift
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.batches import Batch
from .dead_leaves import dead_leaves
from .mixing import Mixing, mix_images
from .recipe import Training

PAD_SHARE = 8  # images are shifted by up to side / 8: 4 pixels of 32, as in the usual CIFAR recipes


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The augmented images of one process, and what is stored of them.

    Attributes:
        x_NCHW: network input, channels last in memory.
        rows: which rows of the batch of all processes the images are.
        batch: what the images were made from, with targets and the teacher's stored logits. It holds the rows of this
            process, or, where images are mixed, those of all processes, since any image may be a mixing partner.
        mixing: how the images of ``batch`` were mixed; None if they were not.
    """

    x_NCHW: Tensor
    rows: Rows
    batch: Batch
    mixing: Mixing | None = None

    @property
    def weight(self) -> float:
        """The weight of a mean over these images in the mean over the processes, which may have one image more or
        less than others."""
        return len(self.x_NCHW) * self.rows.step / self.rows.total

    def labels(self, labels_MK: Tensor) -> Tensor:
        """Labels (N, K) of the view's images, from labels of the images of ``batch``: one-hot or soft, mixed as the
        images were.

        Raises:
            ValueError: images were mixed with dead leaves, which have no label.
        """
        if self.mixing is None:
            return labels_MK
        return self.rows.take(self.mixing.labels(labels_MK))


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Makes views of batches, by the settings of ``training``: crop, min_area, flip, mixup, shape_cutmix, dead_leaves.

    Random numbers come from torch's default generators, which the trainer seeds.

    Args:
        relabelled: whether the criterion has a teacher label every view. If not, labels are those of the whole images:
            ``crop="auto"`` shifts images in place of cutting out parts, and no dead leaves are mixed in.
        preprocessing: the teacher's, since these are its images.
        place: this process's among those that share each batch.
        layout: of the views in memory; one that all networks take which see them.
    """

    training: Training
    preprocessing: Preprocessing
    relabelled: bool
    place: Place = Place()
    layout: torch.memory_format = torch.channels_last

    @torch.no_grad()
    def __call__(self, batch: Batch) -> View:
        """A view of this process's rows of the batch. With mixup the batch must hold the rows of all processes."""
        training = self.training
        x_NCHW, rows, mixing = self._cropped(batch), batch.rows, None
        if training.flip:
            x_NCHW = random_flip(x_NCHW, rows)
        if training.mixup:
            x_NCHW, mixing = self.mixed(x_NCHW, batch)
            rows = Rows.of(rows.total, self.place)
            x_NCHW = rows.take(x_NCHW)
        x_NCHW = x_NCHW.contiguous(memory_format=self.layout)
        return View(x_NCHW=x_NCHW, rows=rows, batch=batch, mixing=mixing)

    @property
    def crop(self) -> str:
        """How images are cropped: resized, pad or none."""
        if self.training.crop == "auto":
            return "resized" if self.relabelled else "pad"
        return self.training.crop

    def mixed(self, x_NCHW: Tensor, batch: Batch) -> tuple[Tensor, Mixing | None]:
        """The images after mixing, and how they were mixed; None where no label has to know."""
        return self.mix(x_NCHW, leaves=self.relabelled)

    def mix(self, x_NCHW: Tensor, *, leaves: bool) -> tuple[Tensor, Mixing]:
        """Mix images with one another, and a share of them with dead leaves, which a teacher has to label."""
        training = self.training
        count = round(training.dead_leaves * len(x_NCHW)) if leaves else 0
        extra_NCHW = dead_leaves(count, self.preprocessing, x_NCHW.device) if count else None
        return mix_images(x_NCHW, training.mixup, shape_cutmix=training.shape_cutmix, extra_NCHW=extra_NCHW)

    def _cropped(self, batch: Batch) -> Tensor:
        x_NCHW, crop = self.preprocessing.normalize(batch.images), self.crop
        if crop == "pad":
            return random_shift(x_NCHW, batch.rows, max(1, self.preprocessing.image_size // PAD_SHARE))
        if crop == "resized":
            return random_resized_crop(x_NCHW, batch.rows, self.training.min_area)
        return x_NCHW
