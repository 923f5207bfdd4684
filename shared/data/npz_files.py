"""Arrays of images and labels in an ``.npz`` file, as NumPy, Keras and MedMNIST write it.

Nothing is unpickled. Images are read one by one, and no array is made before its header was compared with the size that
the file says, so the memory is that of one image and of the labels.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ..core.errors import ConfigError, one_line
from .array_images import channels_of, to_image
from .class_order import Classes, names_by_number, number_labels
from .labelled_set import LabelledSet

LARGEST_IMAGE = 2**28  # bytes of one image
LARGEST_LABELS = 2**28  # bytes of the array of labels
LONGEST_HEADER = 10_000  # characters of an array's header, as NumPy has it
# Names of the arrays, the test part first, in small letters.
IMAGES = (
    ("test_images", "x_test", "images_test", "test_x", "test_data"),
    ("images", "image", "x", "data", "arr_0"),
)
LABELS = (
    ("test_labels", "y_test", "labels_test", "test_y", "test_targets"),
    ("labels", "label", "y", "targets", "target", "arr_1"),
)
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What the header of an array says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def open_arrays(path: Path, classes: Classes) -> LabelledSet:
    """Open an ``.npz`` file: images (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats from 0 to 1, and labels
    (N,), (N, 1), or one-hot (N, K). Where there are arrays of a test part, these are read.

    Raises:
        ConfigError: the file cannot be read, has no such arrays, or a label is none of the network's classes.
    """
    try:
        with zipfile.ZipFile(path) as file:
            images, labels = _names(path, file)
            header = _header(file, images)
            first = _channels_first(header)
            values = _labels(file, labels, header.shape[0], classes.number)
    except ConfigError:
        raise
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    remark, names = None, ()
    if values and isinstance(values[0], str):
        numbers, remark = number_labels(
            ((v, f"{path}: image {row}") for row, v in enumerate(values)), classes, str(path)
        )
        own, names = [numbers[value] for value in values], names_by_number(numbers)
    else:
        own = [classes.check(value, f"{path}: image {row}") for row, value in enumerate(values)]
    remarks = (remark,) if remark else ()
    return LabelledSet(
        name=str(path),
        count=len(own),
        class_names=names,
        remarks=remarks,
        read=lambda: _read(path, images, own, first),
    )


def _read(path: Path, member: str, labels: list[int], first: bool) -> Iterator[tuple[Image.Image, int]]:
    row = 0
    try:
        with zipfile.ZipFile(path) as file, file.open(member) as stream:
            header = _read_header(stream)
            shape = header.shape[1:]
            for label in labels:
                pixels = _array(stream, shape, header.dtype)
                yield to_image(pixels, channels_first=first), label
                row += 1
    except UNREADABLE as error:
        raise _unreadable(path, error, row) from error


def _unreadable(path: Path, error: BaseException, row: int | None = None) -> ConfigError:
    which = "" if row is None else f"image {row} of "
    return ConfigError(f"{which}{path} cannot be read: {one_line(error)}; mend the file, or write it again by np.savez")


def _names(path: Path, file: zipfile.ZipFile) -> tuple[str, str]:
    """The members that hold the images and the labels, of one part."""
    members = {name[: -len(".npy")].lower(): name for name in file.namelist() if name.endswith(".npy")}
    for image_names, label_names in zip(IMAGES, LABELS, strict=True):
        images = [members[name] for name in image_names if name in members]
        labels = [members[name] for name in label_names if name in members]
        if images and labels:
            return images[0], labels[0]
    has = ", ".join(list(members)[:8]) or "none"
    raise ConfigError(
        f"{path} has no arrays of images and labels that are known by their names (it has {has}); write them by"
        " np.savez(FILE, images=..., labels=...)"
    )


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(stream, max_header_size=LONGEST_HEADER)
    if dtype.hasobject:
        raise ValueError("an array holds Python objects, which would have to be unpickled")
    if dtype.kind not in "biufU":
        raise ValueError(f"an array holds {dtype}, and neither numbers nor texts")
    if by_columns and len(shape) > 1:
        raise ValueError("an array is written by columns: write np.ascontiguousarray of it")
    return _Header(shape=shape, dtype=dtype)


def _header(file: zipfile.ZipFile, member: str) -> _Header:
    """The header of an array whose size is what the file says, checked before anything is read of it."""
    with file.open(member) as stream:
        header = _read_header(stream)
        size = math.prod(header.shape) * header.dtype.itemsize
        if min(header.shape, default=1) < 0 or stream.tell() + size != file.getinfo(member).file_size:
            raise ValueError(f"{member} has not the size that its shape {header.shape} needs")
    return header


def _array(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = math.prod(shape) * dtype.itemsize
    if len(data := stream.read(size)) != size:
        raise ValueError("it ends too early")
    return np.frombuffer(data, dtype).reshape(shape)


def _channels_first(header: _Header) -> bool:
    """Whether images are (C, H, W)."""
    shape = header.shape
    if len(shape) not in (3, 4):
        raise ValueError(f"the images have the shape {shape}; write (N, H, W), (N, H, W, C) or (N, C, H, W)")
    if math.prod(shape[1:]) * header.dtype.itemsize > LARGEST_IMAGE:
        raise ValueError(f"the images have the shape {shape}, of too many pixels")
    if len(shape) == 3:
        return False
    can_be_first, can_be_last = channels_of(shape[1:])
    if can_be_first == can_be_last:
        which = "two axes that may be" if can_be_first else "no axis of"
        raise ValueError(f"the images have the shape {shape}, with {which} 1 or 3 channels")
    return can_be_first


def _labels(file: zipfile.ZipFile, member: str, images: int, num_classes: int | None) -> list[Any]:
    """The label of each image: whole numbers, or texts."""
    header = _header(file, member)
    shape = header.shape
    one_hot = (images, shape[-1] if shape and num_classes is None else num_classes)
    if shape not in ((images,), (images, 1), one_hot):
        raise ValueError(f"{member} has the shape {shape}, and there are {images} images: write one label for each")
    if math.prod(shape) * header.dtype.itemsize > LARGEST_LABELS:
        raise ValueError(f"{member} is larger than {LARGEST_LABELS} bytes")
    with file.open(member) as stream:
        _read_header(stream)
        values = _array(stream, shape, header.dtype)
    if header.dtype.kind == "U":
        return values.reshape(-1).tolist()
    if shape not in ((images,), (images, 1)):
        if not (((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
            raise ValueError(f"{member} has several labels for an image; write one for each")
        return values.argmax(1).tolist()
    if not (np.isfinite(values).all() and (values == values.round()).all()):
        raise ValueError(f"{member} has labels that are no whole numbers")
    return [int(value) for value in values.reshape(-1).tolist()]
