"""Images of other people with their labels: folders of image files, and WebDataset tars.

Size and format are looked at before anything is decoded, and only regular files are read.
"""

from __future__ import annotations

import itertools
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from ..core.errors import ConfigError, one_line
from ..core.files import read_limited
from .images import open_image

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"}
TAR_SUFFIXES = ("png", "jpg", "jpeg")
LARGEST = 2**26  # bytes of an image file


def find_images(folder: Path) -> tuple[list[tuple[Path, int]], int]:
    """The image files of an ImageFolder with their labels, and the number of classes.

    It has a folder of images for each class, in the order of their names. Links to folders inside are not followed.

    Raises:
        ConfigError: it has none, or one of them has no images.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise ConfigError(f"{folder} is not an ImageFolder: it needs one folder of images for each class")
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        walked = sorted(os.walk(folder / name))
        below = (Path(parent, file) for parent, _, files in walked for file in sorted(files))
        own = [(path, label) for path in below if path.suffix.lower() in SUFFIXES]
        if not own:
            raise ConfigError(f"{folder / name} has no images: an ImageFolder has some for each class")
        found += own
    return found, len(classes)


def read_images(files: Iterable[tuple[Path, int]]) -> Iterator[tuple[Image.Image, int]]:
    """Decode image files.

    Raises:
        ConfigError: one cannot be read.
    """
    for path, label in files:
        try:
            yield open_image(read_limited(path, LARGEST)).convert("RGB"), label
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {one_line(error)}; mend or delete it") from error


def read_tar(path: Path) -> Iterator[tuple[Image.Image, int]]:
    """Read the samples of a WebDataset tar, compressed or not.

    The members of a sample follow one another and have the same key: their name up to the first dot.

    Raises:
        ConfigError: it cannot be read, or a sample has no image or no label.
    """
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as tar:
            files = (member for member in tar if member.isfile() and "." in member.name)
            parts = ((*member.name.split(".", 1), _read(tar, member)) for member in files)
            for key, group in itertools.groupby(parts, key=lambda part: part[0]):
                sample = {suffix: data for _, suffix, data in group}
                image = next((data for suffix in TAR_SUFFIXES if (data := sample.get(suffix)) is not None), None)
                label = sample.get("cls")
                if image is None or label is None:
                    raise ConfigError(f"{path}: sample {key} has no image (png or jpg) or no label (cls)")
                if not re.fullmatch(rb"\s*\d{1,9}\s*", label):
                    raise ConfigError(f"{path}: the label of sample {key} is {label!r:.40}, and no class number")
                try:
                    yield open_image(image).convert("RGB"), int(label)
                except (OSError, ValueError) as error:
                    raise ConfigError(f"{path}: the image of sample {key} cannot be read: {one_line(error)}") from error
    except ConfigError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error


class _Member(tarfile.TarInfo):
    """A member whose long name or other extended header, which tarfile reads into memory, is not too long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in tarfile.REGULAR_TYPES and member.size > LARGEST:
            raise tarfile.ReadError("a header is too long")
        return member


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """The content of an image or a label; other members are not read."""
    suffix = member.name.split(".", 1)[1]
    if suffix != "cls" and suffix not in TAR_SUFFIXES:
        return None
    if member.size > LARGEST:
        raise ValueError(f"{member.name} is larger than {LARGEST} bytes")
    file = tar.extractfile(member)
    return None if file is None else file.read()
