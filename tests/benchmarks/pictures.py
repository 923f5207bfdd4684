"""Pictures of a table's images: a row for each source, one image for each of its first classes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.shards.contact_sheet import contact_sheet
from dreamdistill.shared.shards.folder import ShardFolder

PICTURED = 10  # images in a row


def of_shards(folder: Path) -> list[Image.Image]:
    return _first_of_each(ShardFolder.open(folder).images())


def of_set(spec: str, classes: int) -> list[Image.Image]:
    """Images of a set as for ``--eval``."""
    return _first_of_each(open_labelled(spec, classes).read())


def as_png(rows: Sequence[Sequence[Image.Image]]) -> bytes:
    buffer = io.BytesIO()
    contact_sheet(rows).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _first_of_each(images: Iterable[tuple[Image.Image, int]]) -> list[Image.Image]:
    first: dict[int, Image.Image] = {}
    for image, target in images:
        first.setdefault(target, image)
    return [first[target] for target in sorted(first)[:PICTURED]]
