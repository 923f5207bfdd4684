"""Images of other people with their labels: folders of image files, and WebDataset tars.

Size and format are looked at before anything is decoded, and only regular files are read.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from ..core.errors import ConfigError, one_line
from ..core.file_kinds import file_kind
from ..core.files import read_limited
from .class_order import Classes, order_classes
from .images import open_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
TAR_SUFFIXES = tuple(suffix[1:] for suffix in SUFFIXES)
LARGEST = 2**26  # bytes of an image file
_UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # what reading a tar raises
MOST_WAITING = 32  # samples of a tar that lack their image or their label at one time


def find_images(folder: Path, class_names: Sequence[str] = ()) -> tuple[list[tuple[Path, int]], list[str], str | None]:
    """The image files of an ImageFolder with their labels, the names of its classes, and a remark on their order.

    It has a folder of images for each class (in which order: :mod:`.class_order`). Links to folders inside are not
    followed. Hidden files and folders, and those that macOS puts into archives, are passed over.

    Args:
        class_names: the network's, which the folders may bear.

    Raises:
        ConfigError: it has none, or one of them has no images.
    """
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and _is_visible(entry.name)]
    if not names:
        raise ConfigError(f"{folder} is not an ImageFolder: it needs one folder of images for each class")
    classes, remark = order_classes(names, class_names)
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        own = [(path, label) for path in sorted(_files_below(folder / name)) if path.suffix.lower() in SUFFIXES]
        if not own:
            raise ConfigError(f"{folder / name} has no images: an ImageFolder has some for each class")
        found += own
    return found, classes, remark


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = filter(_is_visible, folders)  # the others are not walked through
        yield from (Path(parent, file) for file in files if _is_visible(file))


def _is_visible(name: str) -> bool:
    """Whether a file or folder is the user's own: ``.DS_Store``, ``._x.png``, ``.ipynb_checkpoints`` are not."""
    return not name.startswith(".") and name != "__MACOSX"


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


def check_tar(path: Path, instead: str) -> None:
    """Refuse a file that is no tar archive, compressed or not.

    Args:
        instead: what to give in its place.

    Raises:
        ConfigError: it is none. The message says what it is.
    """
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member):
            return
    except _UNREADABLE as error:
        reason = one_line(error)
        is_none = isinstance(error, tarfile.ReadError)
    kind = file_kind(path)
    if not is_none or (kind is not None and kind.sort == "tar"):
        raise ConfigError(f"{path} cannot be read: {reason}")
    if kind is None:
        raise ConfigError(f"{path} is no tar archive: {instead}")
    if kind.sort in ("zip", "packed"):
        raise ConfigError(
            f"{path} {kind.what}, and no tar in it can be read: unpack it, and name the folder of images in it"
        )
    raise ConfigError(f"{path} {kind.what}: {kind.remedy or instead}")


def read_tar(path: Path, classes: Classes) -> Iterator[tuple[Image.Image, int]]:
    """Read the samples of a WebDataset tar, compressed or not.

    The members of a sample, an image and a label, stand close together and have the same name but for the suffix.

    Args:
        classes: that labels may be.

    Raises:
        ConfigError: it cannot be read, or a sample has no image or no such label.
    """
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as tar:
            for key, image, label in _samples(tar, path):
                if not re.fullmatch(rb"\s*[+-]?\d{1,9}\s*", label):
                    raise ConfigError(f"{path}: the label of sample {key} is {label!r:.40}, and no class number")
                number = classes.check(int(label), f"{path}: sample {key}")
                try:
                    yield open_image(image).convert("RGB"), number
                except (OSError, ValueError) as error:
                    raise ConfigError(f"{path}: the image of sample {key} cannot be read: {one_line(error)}") from error
    except ConfigError:
        raise
    except _UNREADABLE as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error


def _samples(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """The name, the image and the label of each sample.

    In WebDataset a name ends at its first dot, and ``7.seg.png`` belongs to sample 7. But people name files
    ``photo.7.png`` too, so a name ends here at its last dot, and an image without a label is passed over if it begins
    with the name of a sample.
    """
    waiting: dict[str, dict[str, bytes]] = {}  # image and label of samples that lack one of them
    done: set[str] = set()  # samples whose names are one with these up to the first dot

    def check_left() -> None:
        for name, found in waiting.items():
            if "label" in found or not any(name == other or name.startswith(f"{other}.") for other in done):
                raise ConfigError(f"{path}: sample {name} has no image (png or jpg) or no label (cls)")

    before = None
    for member in tar:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        suffix = parts[-1].rpartition(".")[2].lower() if parts else ""
        if not member.isfile() or not all(map(_is_visible, parts)) or suffix not in (*TAR_SUFFIXES, "cls"):
            continue
        name = "/".join(parts)[: -len(suffix) - 1]
        group = (parts[:-1], parts[-1].partition(".")[0])
        if group != before or len(waiting) > MOST_WAITING:
            check_left()
            waiting.clear()
        if group != before:
            done.clear()
            before = group
        waiting.setdefault(name, {}).setdefault("label" if suffix == "cls" else "image", _read(tar, member))
        if len(waiting[name]) == 2:
            done.add(name)
            found = waiting.pop(name)
            yield name, found["image"], found["label"]
    check_left()


class _Member(tarfile.TarInfo):
    """A member whose long name or other extended header, which tarfile reads into memory, is not too long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in tarfile.REGULAR_TYPES and member.size > LARGEST:
            raise tarfile.ReadError("a header is too long")
        return member


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST:
        raise ValueError(f"{member.name} is larger than {LARGEST} bytes")
    file = tar.extractfile(member)
    return b"" if file is None else file.read()
