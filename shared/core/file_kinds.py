"""What a file is, by its first bytes: for users who gave it in place of another, or whose download went wrong."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Sort: TypeAlias = Literal[
    "pointer", "no download", "zip", "tar", "packed", "network", "arrays", "text", "image", "pickle", "torch"
]

_HEAD = 512  # bytes that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """What a file is.

    Attributes:
        what: the end of a sentence that begins with its name.
        sort: what can be done about it depends on this.
    """

    what: str
    sort: Sort

    @property
    def remedy(self) -> str | None:
        """What to do where nothing but a whole file is missing; None where that depends on what was wanted."""
        return {"pointer": "fetch it with 'git lfs pull'", "no download": "fetch it again"}.get(self.sort)


_KINDS: tuple[tuple[bytes, str, Sort], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, in place of the file", "pointer"),
    (rb"(?i)\s*(<!doctype|<html|<\?xml|<head)", "is a web page: the download gave no file", "no download"),
    (rb"\s*[\[{]\s*[\"\]}]", "is a JSON text", "text"),
    (rb"\x1f\x8b", "is compressed (gzip)", "packed"),
    (rb"BZh\d", "is compressed (bzip2)", "packed"),
    (rb"\xfd7zXZ\0", "is compressed (xz)", "packed"),
    (rb"\x28\xb5\x2f\xfd", "is compressed (zstd)", "packed"),
    (rb"7z\xbc\xaf\x27\x1c", "is a 7z archive", "packed"),
    (rb"Rar!", "is a RAR archive", "packed"),
    (rb"(?s).{257}ustar", "is a tar archive", "tar"),
    (rb"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras and TensorFlow write it", "network"),
    (rb"(?s).{4}TFL3", "is a TensorFlow Lite network", "network"),
    (rb"\x93NUMPY", "is a NumPy array", "arrays"),
    (rb"PAR1", "is a Parquet table", "arrays"),
    (rb"(?s)\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0{4}|RIFF.{4}WEBP", "is a single image", "image"),
    (rb"(?s)\x08[\x01-\x14]([\x12\x3a\x42]|\x1a.?[\w.]*\x22).*", "is an ONNX network", "network"),
    # What torch.save wrote before it wrote archives is a pickle too: it begins with a number of torch's own.
    (rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", "is a Python pickle", "torch"),
    (rb"\x80[\x02-\x05]", "is a Python pickle", "pickle"),
)


def file_kind(path: Path) -> FileKind | None:
    """What a file is; None if nothing is known of it. What a zip archive holds is not looked at.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return FileKind(what="is empty", sort="no download")
    if head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            damaged = "is damaged, as after an interrupted download (its end is missing)"
            return FileKind(what=damaged, sort="no download")
        return FileKind(what="is a zip archive", sort="zip")
    return next((FileKind(what=what, sort=sort) for pattern, what, sort in _KINDS if re.match(pattern, head)), None)
