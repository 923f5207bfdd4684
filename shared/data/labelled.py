"""Real labelled images: to measure on (``--eval``, ``--real``), and those of new classes (``--new``).

No stage trains on other real images than those of ``--new``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..core.errors import ConfigError, printable
from ..models.named_files import split_name
from ..models.preprocessing import Preprocessing
from . import torchvision_sets
from .class_order import Classes
from .csv_files import LIST_SUFFIXES, open_list
from .digit_set import is_digits, open_digits
from .image_files import check_tar, find_images, read_images, read_tar
from .images import to_tensor
from .labelled_set import LabelledSet
from .npz_files import open_arrays
from .torchvision_sets import open_torchvision
from .user_sets import open_users_set

CROP_SHARE = 0.875  # share of the resized image's side that the centre crop keeps, as torchvision and timm do
NO_CROP_UP_TO = 64  # pixels; networks of this image size or less are evaluated on the whole image


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of evaluation set.

    Attributes:
        form: how it is named, for messages.
        fits: whether a name is of this kind.
        open: opens the set of a name, for a network's classes.
    """

    form: str
    fits: Callable[[str], bool]
    open: Callable[[str, Classes], LabelledSet]


def _is_code(spec: str) -> bool:
    return (split_name(spec) is not None or spec.endswith(".py")) and not os.path.isdir(spec)


def _has_suffix(*suffixes: str) -> Callable[[str], bool]:
    return lambda spec: spec.lower().endswith(suffixes) and os.path.isfile(spec)


def _open_folder(spec: str, classes: Classes) -> LabelledSet:
    files, names, remark = find_images(Path(spec), classes.names)
    return LabelledSet(
        name=spec,
        count=len(files),
        classes=len(names),
        class_names=tuple(names),
        remarks=(remark,) if remark else (),
        read=lambda: read_images(files),
    )


def _open_tar(spec: str, classes: Classes) -> LabelledSet:
    check_tar(Path(spec), _forms())
    return LabelledSet(name=spec, count=None, read=lambda: read_tar(Path(spec), classes))


KINDS = (  # a name is of the first kind that it fits
    Kind(form="digits", fits=is_digits, open=lambda spec, _: open_digits(spec)),
    Kind(
        form=torchvision_sets.FORM,
        fits=lambda spec: spec.startswith(torchvision_sets.PREFIX),
        open=open_torchvision,
    ),
    Kind(form="FILE.py:NAME", fits=_is_code, open=open_users_set),
    Kind(form="a folder", fits=os.path.isdir, open=_open_folder),
    Kind(
        form="a CSV file",
        fits=_has_suffix(*LIST_SUFFIXES),
        open=lambda spec, classes: open_list(Path(spec), classes),
    ),
    Kind(form="an .npz file", fits=_has_suffix(".npz"), open=lambda spec, classes: open_arrays(Path(spec), classes)),
    Kind(form="a tar", fits=os.path.isfile, open=_open_tar),
)


def _forms() -> str:
    *forms, last = [kind.form for kind in reversed(KINDS)]
    return f"give {', '.join(forms)} or {last}"


def open_labelled(spec: str, num_classes: int | None, class_names: Sequence[str] = ()) -> LabelledSet:
    """Open a set of labelled images.

    Args:
        spec: named by the user, since ``FILE.py:NAME`` runs the file. One of :data:`KINDS`: ``digits``,
            ``torchvision:NAME:ROOT``, ``FILE.py:NAME``, or the path of an ImageFolder, a CSV list, an ``.npz`` file or
            a WebDataset tar. ``digits:train`` is the part of the digits that the shipped teachers were trained on, for
            ``--real``, and ``digits:5-9`` has the last five classes alone.
        num_classes: number of classes of the teacher. Labels that are read lie below it. None opens a set of classes
            that no network knows: it has as many as it has.
        class_names: those of the teacher. A set with the same names in another order has its labels put in this order.

    Raises:
        ConfigError: the set does not exist or cannot be read, or it has another number of classes.
    """
    kind = next((kind for kind in KINDS if kind.fits(spec)), None)
    if kind is None:
        raise ConfigError(f"{spec}: no such folder or file of images; {_forms()}")
    found = kind.open(spec, Classes(number=num_classes, names=class_names))
    if num_classes is None:
        return found  # its remarks are of the order of a network's classes
    if found.classes is not None and found.classes != num_classes:
        raise ConfigError(
            f"{spec} has {found.classes} classes and the network {num_classes}; use images of the network's classes"
        )
    for remark in found.remarks:
        print(printable(f"{spec}: {remark}"), file=sys.stderr)
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
