"""The real images of the new classes: read once, kept in memory as pixels, and their classes numbered after the old."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from ...shared.cli.effects import warn
from ...shared.core.errors import ConfigError
from ...shared.data.class_order import same_names
from ...shared.data.labelled import labelled_batches, open_labelled
from ...shared.data.labelled_set import LabelledSet
from ...shared.models.preprocessing import Preprocessing

READ = 256  # images at a time
LARGEST = 2**33  # bytes of all images together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewImages:
    """Real images of classes that the teacher does not know.

    Attributes:
        pixels_NCHW: uint8, of the teacher's size, on the CPU.
        labels_N: int64, 0 to ``num_classes`` - 1: the classes of this set alone.
        class_names: one for each of these classes; empty where the set has none.
    """

    pixels_NCHW: Tensor
    labels_N: Tensor
    num_classes: int
    class_names: tuple[str, ...]

    @classmethod
    def read(cls, spec: str, preprocessing: Preprocessing, old_names: Sequence[str]) -> NewImages:
        """Read a set, as named for ``--new``.

        Args:
            old_names: of the teacher's classes, empty if they are not known.

        Raises:
            ConfigError: it cannot be read, has no class of its own, has a class of the teacher's or one without images,
                or does not fit into memory.
        """
        images = open_labelled(spec, None)
        if known := same_names(old_names, images.class_names):
            raise ConfigError(
                f"{spec} has the class {known[0]!r:.80}, which the teacher knows already: leave its images out, or give"
                " the class another name"
            )
        limit = LARGEST // (preprocessing.channels * preprocessing.image_size**2)
        pixels, labels, count = [], [], 0
        for pixels_NCHW, labels_N in labelled_batches(_looking_at_first(images, preprocessing), preprocessing, READ):
            pixels.append(pixels_NCHW)
            labels.append(labels_N)
            count += len(labels_N)
            if count > limit:
                raise ConfigError(f"{spec} has more than {limit:,} images, which do not fit into memory: give fewer")
        return cls._checked(torch.cat(pixels), torch.cat(labels), images)

    @classmethod
    def _checked(cls, pixels_NCHW: Tensor, labels_N: Tensor, images: LabelledSet) -> NewImages:
        number = images.classes or int(labels_N.max()) + 1
        each = torch.bincount(labels_N, minlength=number)
        if bool((each == 0).any()):
            empty = int((each == 0).nonzero()[0])
            raise ConfigError(
                f"{images.name} has no images of its class {empty}: number the new classes from 0 to"
                f" {int((each > 0).sum()) - 1}, and leave out those without images"
            )
        if int(each.min()) == 1:
            names = images.class_names or tuple(map(str, range(number)))
            warn(
                f"{images.name} has a single image of the class {names[int(each.argmin())]!r:.80}: what it shows beside"
                " the class is learned too; a few more help much"
            )
        return cls(
            pixels_NCHW=pixels_NCHW,
            labels_N=labels_N,
            num_classes=number,
            class_names=images.class_names if len(images.class_names) == number else (),
        )

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def sha256(self) -> str:
        """Identity of the images and their classes."""
        digest = hashlib.sha256(f"{tuple(self.pixels_NCHW.shape)} {self.num_classes} {self.class_names}\n".encode())
        for tensor in (self.pixels_NCHW, self.labels_N):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def joint_names(self, old_names: Sequence[str]) -> tuple[str, ...]:
        """The names of all classes, the old ones first; empty where the old ones have none.

        New classes without names are called by their numbers.
        """
        if not old_names:
            return ()
        return (*old_names, *(self.class_names or map(str, range(len(old_names), len(old_names) + self.num_classes))))


def _looking_at_first(images: LabelledSet, preprocessing: Preprocessing) -> LabelledSet:
    """The same set, which warns where its first image shows less than the teacher takes, or more."""

    def read() -> Iterator[tuple[Image.Image, int]]:
        for number, (image, label) in enumerate(images.read()):
            if number == 0:
                _warn_of_kind(image, images.name, preprocessing)
            yield image, label

    return replace(images, read=read)


def _warn_of_kind(image: Image.Image, name: str, preprocessing: Preprocessing) -> None:
    side = preprocessing.image_size
    if min(image.size) < side:
        warn(
            f"{name} has images of {image.width}x{image.height} pixels, which are enlarged to {side}x{side}: the old"
            " classes' images are sharper, and the network may learn to tell classes by that"
        )
    if preprocessing.channels == 1 and len({band.tobytes() for band in image.convert("RGB").split()}) > 1:
        warn(f"{name} has images in colour, and the teacher takes grey ones: they are converted")
