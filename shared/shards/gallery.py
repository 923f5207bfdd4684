"""A contact sheet of a shard folder: images of each class side by side, and the folder's score, if there is one."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from PIL import Image, ImageDraw

from ..core.errors import ConfigError
from ..core.files import write_bytes
from ..data.images import JPEG_QUALITY
from .folder import ShardFolder
from .quality import Score, read_score

GAP = 2  # pixels between images
MIN_SIDE = 32  # pixels; smaller images are enlarged by a whole factor


def write_gallery(
    folder: ShardFolder, path: Path, *, columns: int, classes: tuple[int, ...] | None, side: int | None = None
) -> tuple[int, int]:
    """Write a picture with the first ``columns`` images of each class, in the classes' order, and return how many
    (classes, images) it shows. A class begins a row, or stands beside the one before where both fit.

    Args:
        path: a JPEG where its name ends so, else a PNG.
        classes: what to show; None shows every class that has images.
        side: of an image, in pixels; None takes its own, enlarged to 32 or more.

    Raises:
        ConfigError: no image is of these classes, or the file cannot be written.
    """
    found: dict[int, list[Image.Image]] = {}
    wanted = None if classes is None else set(classes)
    for number in folder.records:
        for sample in folder.samples(number):
            images = found.setdefault(sample.target, []) if wanted is None or sample.target in wanted else None
            if images is not None and len(images) < columns:
                images.append(Image.open(io.BytesIO(sample.image)).convert("RGB"))
    if not found:
        raise ConfigError(f"{folder.path} has no images of these classes")
    sheet = contact_sheet(_rows([found[target] for target in sorted(found)], columns), side)
    if score := read_score(folder):
        sheet = _with_caption(sheet, _told(score))
    buffer = io.BytesIO()
    if path.suffix.lower() in (".jpg", ".jpeg"):
        sheet.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        sheet.save(buffer, "PNG", optimize=True)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return len(found), sum(map(len, found.values()))


def contact_sheet(rows: Sequence[Sequence[Image.Image | None]], side: int | None = None) -> Image.Image:
    """Square images of one size on white, a row of them below the other; None leaves a place free.

    Args:
        side: of an image, in pixels; None takes its own, enlarged by a whole factor to 32 or more.
    """
    own = next(image.width for row in rows for image in row if image is not None)
    side = side or own * -(-MIN_SIDE // own)
    scaling = Image.Resampling.LANCZOS if side < own else Image.Resampling.NEAREST
    width = max(len(row) for row in rows)
    sheet = Image.new("RGB", (width * (side + GAP) + GAP, len(rows) * (side + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is not None:
                sheet.paste(image.resize((side, side), scaling), (GAP + x * (side + GAP), GAP + y * (side + GAP)))
    return sheet


def _rows(classes: list[list[Image.Image]], columns: int) -> list[list[Image.Image | None]]:
    """As many classes a row as fit, each as wide as the largest."""
    width = max(map(len, classes))
    blocks = [[*images, *[None] * (width - len(images))] for images in classes]
    beside = columns // width
    return [list(chain(*blocks[first : first + beside])) for first in range(0, len(blocks), beside)]


def _with_caption(sheet: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text below, and as wide as that needs."""
    box = ImageDraw.Draw(sheet).textbbox((GAP, sheet.height), text)
    larger = Image.new("RGB", (max(sheet.width, math.ceil(box[2]) + GAP), math.ceil(box[3]) + GAP), "white")
    larger.paste(sheet)
    ImageDraw.Draw(larger).text((GAP, sheet.height), text, fill="black")
    return larger


def _told(found: Score) -> str:
    """The score in one line."""
    made = found.synthetic
    parts = [f"{made.images:,} images", f"teacher agrees {100 * made.agreement:.1f} %"]
    if made.verifier_agreement is not None:
        parts.append(f"verifier {100 * made.verifier_agreement:.1f} %")
    parts.append(f"diversity {made.diversity:.3f}")
    if found.frechet is not None:
        parts.append(f"Frechet {found.frechet:.3g}")
    return ", ".join(parts)
