"""Lists of images: a CSV or TSV file with the path and the label of an image in each row."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigError, one_line
from ..core.files import read_limited
from .class_order import Classes, names_by_number, number_labels
from .image_files import SUFFIXES, read_images
from .labelled_set import LabelledSet

LIST_SUFFIXES = (".csv", ".tsv")
LARGEST_LIST = 2**27  # bytes of a list
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path")
NUMBERS = ("label", "labels", "target", "class", "class_id", "class_index", "category", "y")
NAMES = ("class_name", "classname", "label_name", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where a row has what, and how many cells rows have."""

    path: int
    label: int
    width: int
    header: bool


def open_list(path: Path, classes: Classes) -> LabelledSet:
    """Open a list. Every file that it names is looked for at once, and decoded while it is read.

    Commas, semicolons or tabs separate cells. Columns are known by their names in the first row, or without such a row
    by a path that ends as image files do. Relative paths start at the list's folder. Labels: :func:`number_labels`.

    Raises:
        ConfigError: the file cannot be read, columns are missing, or a row has no such file or class.
    """
    rows, columns = _rows(path, bool(classes.names))
    if not rows:
        raise ConfigError(f"{path} has no rows; list the path and the label of an image in each")
    found: list[tuple[Path, str, str]] = []
    for number, row in rows:
        where = f"{path}: row {number}"
        if len(row) != columns.width:
            raise ConfigError(f"{where} has {len(row)} cells and the first row {columns.width}: give each row as many")
        if not (label := row[columns.label].strip()):
            raise ConfigError(f"{where} has no label; give it one, or delete the row")
        found.append((_file(path.parent, row[columns.path].strip(), where), label, where))
    numbers, remark = number_labels(((label, where) for _, label, where in found), classes, str(path))
    files = [(file, numbers[label]) for file, label, _ in found]
    remarks = (remark,) if remark else ()
    return LabelledSet(
        name=str(path),
        count=len(files),
        class_names=names_by_number(numbers),
        remarks=remarks,
        read=lambda: read_images(files),
    )


def _rows(path: Path, named: bool) -> tuple[list[tuple[int, list[str]]], _Columns]:
    """The rows below the header with their numbers from 1 on, empty ones left out, and the columns."""
    try:
        text = _decoded(read_limited(path, LARGEST_LIST))
        for delimiter in "\t,;" if path.suffix.lower() == ".tsv" else ",;\t":
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
            first = next((row for row in reader if any(row)), [])
            if columns := _columns(first, named):
                reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
                rows = [(number, row) for number, row in enumerate(reader, 1) if any(cell.strip() for cell in row)]
                return rows[columns.header :], columns
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}; give a CSV file in UTF-8") from error
    raise ConfigError(
        f"{path}: its first row has no columns of paths and labels; call them path and label, with commas, semicolons"
        " or tabs between them"
    )


def _decoded(data: bytes) -> str:
    """Excel writes a byte order mark ahead of UTF-8, and UTF-16 as "Unicode text"."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _columns(first: Sequence[str], named: bool) -> _Columns | None:
    """Find the columns by the first row.

    Args:
        named: the network has class names, so a column of names comes before one of numbers.
    """
    cells = [cell.strip().casefold().replace(" ", "_") for cell in first]
    images = [place for place, cell in enumerate(cells) if cell.endswith(SUFFIXES)]
    if not images:  # a header
        paths = [cells.index(name) for name in PATHS if name in cells]
        labels = [cells.index(name) for name in ((*NAMES, *NUMBERS) if named else (*NUMBERS, *NAMES)) if name in cells]
        if len(cells) == 2 and len({*paths, *labels}) == 1:  # the other column is the other one
            other = 1 - [*paths, *labels][0]
            paths, labels = paths or [other], labels or [other]
        if paths and labels:
            return _Columns(path=paths[0], label=labels[0], width=len(cells), header=True)
    elif len(cells) == 2 and len(images) == 1:
        return _Columns(path=images[0], label=1 - images[0], width=2, header=False)
    return None


def _file(folder: Path, name: str, where: str) -> Path:
    """The file that a row names. One with backslashes was listed on Windows, if there is no file of that very name."""
    for written in (name, name.replace("\\", "/")):
        file = os.path.join(folder, written)
        if os.path.isfile(file):
            return Path(file)
    if name and os.path.exists(os.path.join(folder, name)):
        raise ConfigError(f"{where} names {name!r:.500}, which is no regular file; name an image")
    raise ConfigError(f"{where} names {name!r:.500}, and there is no such file; relative paths start at {folder}")
