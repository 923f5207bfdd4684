"""Real labelled images, for ``--eval`` and ``--real`` only. No stage trains on the images that this module reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.errors import ConfigError, one_line
from ..models.preprocessing import Preprocessing
from .image_files import find_images, read_images, read_tar
from .images import to_tensor

CROP_SHARE = 0.875  # share of the resized image's side that the centre crop keeps, as torchvision and timm do
NO_CROP_UP_TO = 64  # pixels; networks of this image size or less are evaluated on the whole image
DIGITS_TEST = 450  # the last quarter of scikit-learn's 1,797 digits in their order, so by other writers than the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Labelled images, which are decoded while they are read.

    Attributes:
        name: as given to ``--eval``.
        count: number of images; None if it is unknown before all are read.
        read: begins to read, and returns an iterator over (image, label).
    """

    name: str
    count: int | None
    read: Callable[[], Iterator[tuple[Image.Image, int]]]


def open_labelled(spec: str, num_classes: int, class_names: Sequence[str] = ()) -> LabelledSet:
    """Open an evaluation set.

    Args:
        spec: ``digits``, ``torchvision:NAME:ROOT``, or the path of an ImageFolder or a WebDataset tar. ``digits:train``
            is the part of the digits that the shipped teachers were trained on, for ``--real``.
        num_classes: number of classes of the teacher. Labels that are read lie below it.
        class_names: those of the teacher, which the folders of an ImageFolder may bear.

    Raises:
        ConfigError: the set does not exist or cannot be read, or it has another number of classes.
    """
    if spec in ("digits", "digits:train"):
        found, classes = _digits(spec), 10
    elif spec.startswith("torchvision:"):
        found, classes = _torchvision(spec, num_classes)
    elif Path(spec).is_dir():
        files, classes = find_images(Path(spec), class_names)
        found = LabelledSet(name=spec, count=len(files), read=lambda: read_images(files))
    elif Path(spec).is_file():
        return LabelledSet(name=spec, count=None, read=lambda: read_tar(Path(spec), num_classes))
    else:
        raise ConfigError(
            f"{spec}: no such folder or tar of images; the other choices are digits and torchvision:CIFAR10:ROOT"
        )
    if classes is not None and classes != num_classes:
        raise ConfigError(
            f"{spec} has {classes} classes and the teacher {num_classes}; use images of the teacher's classes"
        )
    return found


def labelled_batches(
    images: LabelledSet, preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a set in batches: images uint8 (N, C, H, W) of the network's size, and labels int64 (N,).

    The last batch may be smaller.

    Raises:
        ConfigError: the set has no images, or a file of it cannot be read.
    """
    pixels: list[Tensor] = []
    labels: list[int] = []
    empty = True
    for image, label in images.read():
        pixels.append(to_tensor(_fit(image, preprocessing.image_size), preprocessing.channels))
        labels.append(label)
        empty = False
        if len(pixels) == batch_size:
            yield torch.stack(pixels), torch.tensor(labels)
            pixels, labels = [], []
    if empty:
        raise ConfigError(f"{images.name} has no images; pass a set that has some")
    if pixels:
        yield torch.stack(pixels), torch.tensor(labels)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Resize and crop the centre, as is usual in evaluation. An image of the right size stays as it is."""
    if image.size == (size, size):
        return image
    scale = size / CROP_SHARE / min(image.size) if size > NO_CROP_UP_TO else size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _digits(spec: str) -> LabelledSet:
    images, labels = load_digits(test=spec == "digits")
    return LabelledSet(
        name=spec,
        count=len(labels),
        read=lambda: zip((Image.fromarray(image.numpy()) for image in images), labels.tolist(), strict=True),
    )


def load_digits(*, test: bool) -> tuple[Tensor, Tensor]:
    """scikit-learn's handwritten digits: uint8 (N, 8, 8) and labels (N,). 1,347 are for training and 450 for tests.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise ConfigError("the digits need scikit-learn: pip install 'dreamdistill[demo]'") from error
    data: Any = sklearn_digits()
    part = slice(-DIGITS_TEST, None) if test else slice(None, -DIGITS_TEST)
    pixels = torch.from_numpy(data.images[part]) * (255 / 16)
    return pixels.round().to(torch.uint8), torch.from_numpy(data.target[part])


def _torchvision(spec: str, num_classes: int) -> tuple[LabelledSet, int | None]:
    import torchvision

    _, name, root = [*spec.split(":", 2), "", ""][:3]
    if name not in torchvision.datasets.__all__ or not root:
        raise ConfigError(f"{spec}: write torchvision:NAME:ROOT, for example torchvision:CIFAR10:data")
    for split in ({"train": False}, {"split": "test"}, {"split": "val"}):
        try:
            dataset = getattr(torchvision.datasets, name)(root, **split)
            break
        except (TypeError, ValueError):
            continue  # this data set has another argument for its test part
        except Exception as error:  # it may lack files, or a library to read them, and each says so in its own way
            raise ConfigError(f"{spec}: {one_line(error)}") from error
    else:
        raise ConfigError(f"{spec}: torchvision's {name} has no test or val part; use another data set")
    classes = getattr(dataset, "classes", None)
    found = LabelledSet(name=spec, count=len(dataset), read=lambda: _items(spec, dataset, num_classes))
    return found, len(classes) if classes else None


def _items(spec: str, dataset: Any, num_classes: int) -> Iterator[tuple[Image.Image, int]]:
    for index in range(len(dataset)):
        try:
            image, label = dataset[index]
            known = int(label)
        except Exception as error:  # as above
            raise ConfigError(f"{spec}: item {index} is no image with a class number: {one_line(error)}") from error
        if not isinstance(image, Image.Image):
            raise ConfigError(f"{spec}: item {index} is no image, but {type(image).__name__}; use another data set")
        if not 0 <= known < num_classes:
            raise ConfigError(f"{spec}: item {index} has label {known}, and the teacher has {num_classes} classes")
        yield image, known
