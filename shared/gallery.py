"""A contact sheet of a shard folder: a row a class, and its score, if there is one, below."""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image, ImageDraw

from .errors import ConfigError
from .runtime import write_bytes
from .score import Score, read_score
from .shards import ShardFolder

GAP = 2  # pixels between images
MIN_SIDE = 32  # pixels; smaller images are enlarged by a whole factor, without smoothing


def write_gallery(folder: ShardFolder, path: Path, *, columns: int, classes: tuple[int, ...] | None) -> tuple[int, int]:
    """Write a PNG with the first ``columns`` images of each class, in the classes' order, and return (rows, images).

    Args:
        classes: rows to show; None shows every class that has images.

    Raises:
        ConfigError: no image is of these classes, or the file cannot be written.
    """
    rows: dict[int, list[Image.Image]] = {}
    wanted = None if classes is None else set(classes)
    for number in folder.records:
        for sample in folder.samples(number):
            row = rows.setdefault(sample.target, []) if wanted is None or sample.target in wanted else None
            if row is not None and len(row) < columns:
                row.append(Image.open(io.BytesIO(sample.image)).convert("RGB"))
    if not rows:
        raise ConfigError(f"{folder.path} has no images of these classes")
    sheet = contact_sheet([rows[target] for target in sorted(rows)])
    if found := read_score(folder):
        sheet = _with_caption(sheet, _told(found))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return len(rows), sum(map(len, rows.values()))


def contact_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Square images of one size on white, a row of them below the other."""
    side = rows[0][0].width
    side *= -(-MIN_SIDE // side)
    width = max(len(row) for row in rows)
    sheet = Image.new("RGB", (width * (side + GAP) + GAP, len(rows) * (side + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            place = (GAP + x * (side + GAP), GAP + y * (side + GAP))
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), place)
    return sheet


def _with_caption(sheet: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text below, and as wide as that needs."""
    box = ImageDraw.Draw(sheet).textbbox((GAP, sheet.height), text)
    larger = Image.new("RGB", (max(sheet.width, math.ceil(box[2]) + GAP), math.ceil(box[3]) + GAP), "white")
    larger.paste(sheet)
    ImageDraw.Draw(larger).text((GAP, sheet.height), text, fill="black")
    return larger


def _told(found: Score) -> str:
    """The score in one line."""
    made = found.made
    parts = [f"{made.images:,} images", f"teacher agrees {100 * made.agreement:.1f} %"]
    if made.verifier_agreement is not None:
        parts.append(f"verifier {100 * made.verifier_agreement:.1f} %")
    parts.append(f"diversity {made.diversity:.3f}")
    if found.frechet is not None:
        parts.append(f"Frechet {found.frechet:.3g}")
    return ", ".join(parts)
