"""Real labelled images for ``--eval`` and ``--real`` alone, and the share of them that a network gets right.

Nothing in the invert, distill or prune stages is trained on what this module reads.
"""

from __future__ import annotations

import io
import itertools
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.errors import ConfigError, one_line
from ..models.classifier import Preprocessing
from .images import to_tensor

CROP_SHARE = 0.875  # of the resized image's side that the centre crop keeps, as torchvision's and timm's recipes do


DIGITS_TEST = 450  # the last quarter of scikit-learn's 1,797 digits, in their order, so other writers' hands


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Labelled images, decoded as they are asked for.

    Attributes:
        name: as ``--eval`` named it.
        count: how many there are, or None if only reading tells.
    """

    name: str
    count: int | None
    read: Callable[[], Iterator[tuple[Image.Image, int]]]


def open_labelled(spec: str, num_classes: int) -> LabelledSet:
    """Open an evaluation set: ``digits``, ``torchvision:NAME:ROOT``, an ImageFolder, or a WebDataset tar.

    ``digits:train`` is the part of the digits that teachers are trained on, for ``--real``.

    Raises:
        ConfigError: it is not there, or its classes are not the teacher's.
    """
    if spec in ("digits", "digits:train"):
        found, classes = _digits(spec), 10
    elif spec.startswith("torchvision:"):
        found, classes = _torchvision(spec)
    elif Path(spec).is_dir():
        found, classes = _image_folder(spec)
    elif Path(spec).is_file():
        return LabelledSet(name=spec, count=None, read=lambda: _tar_samples(spec))
    else:
        raise ConfigError(f"{spec}: no such folder or tar of images (or say digits, or torchvision:CIFAR10:ROOT)")
    if classes is not None and classes != num_classes:
        raise ConfigError(f"{spec} has {classes} classes and the teacher {num_classes}")
    return found


def labelled_batches(
    images: LabelledSet, preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 (N, C, H, W), fitted to the network's image size, and labels (N,); the last batch may be smaller.

    Raises:
        ConfigError: there are no images.
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
        raise ConfigError(f"{images.name} holds no images")
    if pixels:
        yield torch.stack(pixels), torch.tensor(labels)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Centre crop of the resized image, as the field evaluates; an image of the right size is left alone."""
    if image.size == (size, size):
        return image
    scale = size / CROP_SHARE / min(image.size) if size > 64 else size / min(image.size)
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
    """scikit-learn's handwritten digits: uint8 (N, 8, 8) and labels (N,); 1,347 to train with, 450 to test.

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


def _torchvision(spec: str) -> tuple[LabelledSet, int | None]:
    import torchvision

    _, name, root = [*spec.split(":", 2), "", ""][:3]
    dataset_class = getattr(torchvision.datasets, name, None)
    if dataset_class is None or not root:
        raise ConfigError(f"{spec}: write torchvision:NAME:ROOT, for example torchvision:CIFAR10:data")
    for split in ({"train": False}, {"split": "test"}, {"split": "val"}):
        try:
            dataset = dataset_class(root, **split)
            break
        except (TypeError, ValueError):
            continue  # this data set names its test part another way
        except (RuntimeError, FileNotFoundError) as error:
            raise ConfigError(f"{spec}: {one_line(error)}") from error
    else:
        raise ConfigError(f"{spec}: torchvision's {name} has no test or val part that can be named")
    classes = getattr(dataset, "classes", None)
    found = LabelledSet(name=spec, count=len(dataset), read=lambda: (dataset[i] for i in range(len(dataset))))
    return found, len(classes) if classes else None


def _image_folder(spec: str) -> tuple[LabelledSet, int]:
    from torchvision.datasets import ImageFolder

    try:
        dataset = ImageFolder(spec)
    except FileNotFoundError as error:
        raise ConfigError(f"{spec} is no ImageFolder: it needs one folder of images for each class") from error
    found = LabelledSet(name=spec, count=len(dataset), read=lambda: (dataset[i] for i in range(len(dataset))))
    return found, len(dataset.classes)


def _tar_samples(path: str) -> Iterator[tuple[Image.Image, int]]:
    """Samples of a WebDataset tar, compressed or not: members of one key, the part up to the first dot, in a row."""
    try:
        with tarfile.open(path, "r|*") as tar:
            files = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
            parts = ((*name.split(".", 1), file.read()) for name, file in files if file is not None and "." in name)
            for key, group in itertools.groupby(parts, key=lambda part: part[0]):
                sample = {suffix: data for _, suffix, data in group}
                image = next((sample[suffix] for suffix in ("png", "jpg", "jpeg") if suffix in sample), None)
                if image is None or "cls" not in sample:
                    raise ConfigError(f"{path}: sample {key} lacks its image (png, jpg) or its cls")
                yield Image.open(io.BytesIO(image)), int(sample["cls"])
    except ConfigError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
