"""What a page says of a shard folder: what it is, its verdict, its images by class, and the losses at their end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..core.errors import DreamError
from ..core.files import cut_path, write_text
from ..shards.contact_sheet import MIN_SIDE, labelled_sheet
from ..shards.folder import ShardFolder
from ..shards.quality import read_score
from ..shards.survey import Survey, survey
from ..shards.verdict import HEALTHY, verdict
from .confusions import name_of
from .page import report_page
from .parts import (
    Html,
    Section,
    duration,
    facts,
    group,
    note,
    paragraph,
    percent,
    picture,
    side_by_side,
    table,
    warning,
)

SMALL_SIDE = 64  # pixels up to which images are kept as they are, in a PNG
LARGE_SIDE = 112  # pixels of larger ones
COLUMNS = 10  # images of a class
MOST_SHOWN = 20  # classes, of the sheet and of the table
JPEG_QUALITY = 85

KEPT = "report.html"  # of a shard folder, or of a run


def write_shard_report(path: Path, out: Path) -> tuple[int, int]:
    """Write the page of one shard folder.

    Returns:
        Number of classes and of images that it is about.

    Raises:
        ConfigError: it is no shard folder.
        DreamError: a tar is damaged.
        OSError: the page cannot be written.
    """
    folder = ShardFolder.open(path)
    found = survey(folder, columns=COLUMNS)
    sections = [
        Section(title="What it is", parts=shard_facts(folder)),
        Section(title="Images by class", parts=[shard_sheet(folder, found)]),
        Section(title="Classes", parts=class_table(folder, found)),
        Section(title="Losses", parts=shard_losses(folder)),
    ]
    figures = {
        "images": f"{folder.num_samples:,}",
        "teacher agrees": percent(folder.agreement),
        "classes": f"{len(found.classes):,}",
        "time of all workers": duration(_seconds(folder)),
    }
    lead = f"Synthetic images, made from {cut_path(folder.manifest.teacher.title)} alone."
    title = path.resolve().name
    write_text(out, report_page(sections, title=title, kind="dreamdistill · shard report", lead=lead, figures=figures))
    return len(found.classes), found.images


def shard_parts(path: Path) -> list[Html]:
    """A shard folder as a part of a longer page."""
    folder = ShardFolder.open(path)
    found = survey(folder, columns=COLUMNS)
    return [side_by_side([group(shard_facts(folder)), shard_sheet(folder, found)])]


def shard_facts(folder: ShardFolder) -> list[Html]:
    """What the folder is, and the verdict on it."""
    teacher, records = folder.manifest.teacher, list(folder.records.values())
    planned, score, side = folder.num_planned, read_score(folder), teacher.image_size
    rows = {
        "folder": folder.path,
        "teacher": teacher.title,
        "recipe": ", ".join(folder.manifest.recipe_names),
        "rounds": len(folder.manifest.rounds) if len(folder.manifest.rounds) > 1 else None,
        "images": f"{folder.num_samples:,} of {side}x{side} pixels in {len(records):,} shards",
        "agreement": percent(folder.agreement),
        "clipped values": percent(folder.clipped),
        "verifier agrees": percent(score.synthetic.verifier_agreement) if score else None,
        "diversity": score.synthetic.diversity if score else None,
        "Fréchet distance": score.frechet if score else None,
        "time of all workers": duration(_seconds(folder)),
    }
    said = verdict(records)
    judged = paragraph(f"Agreement: {said}.")
    parts = [facts(rows), judged if said.startswith(("high", "not to be")) else warning(f"Agreement: {said}.")]
    if planned > folder.num_samples:
        parts.append(warning(f"{planned - folder.num_samples:,} of {planned:,} images are not made yet."))
    return parts


def shard_sheet(folder: ShardFolder, found: Survey) -> Html:
    """A contact sheet of the first classes."""
    size, names = folder.manifest.teacher.image_size, folder.manifest.teacher.class_names
    try:
        blocks = found.blocks(names, most=MOST_SHOWN)
    except ValueError as error:
        raise DreamError(
            f"an image of {folder.path} cannot be read ({error}): examine it with di-shards verify"
        ) from error
    # Small images grow until a class fills a line; larger ones shrink, since the page carries them in itself.
    side = size * max(1, -(-MIN_SIDE // size)) if size <= SMALL_SIDE else LARGE_SIDE
    sheet = labelled_sheet(blocks, COLUMNS, side, caption=())
    data, kind = _encoded(sheet, lossless=size <= SMALL_SIDE)
    rest = len(found.classes) - len(blocks)
    caption = f"The first images of each class{f', of {len(blocks)} classes; {rest:,} more are there' if rest else ''}"
    return picture(data, kind, alt=f"images by class of {folder.path.name}", caption=caption)


def class_table(folder: ShardFolder, found: Survey) -> list[Html]:
    """Images and agreement of each class; of many classes those with the lowest agreement."""
    names = folder.manifest.teacher.class_names
    rows = [
        (name_of(number, names) if names else f"class {number}", entry.images, entry.agreed / entry.images)
        for number, entry in found.classes.items()
    ]
    parts: list[Html] = []
    if len(rows) > MOST_SHOWN:
        parts.append(note(f"The {MOST_SHOWN} classes with the lowest agreement, of {len(rows):,}."))
        rows = sorted(rows, key=lambda row: row[2])[:MOST_SHOWN]
    if found.images < folder.num_samples:
        parts.append(note(f"Counted over the first {found.images:,} images."))
    if min(row[2] for row in rows) < HEALTHY <= max(row[2] for row in rows):
        parts.append(note("A class that agrees less than the others is harder to show: look at its images."))
    return [*parts, _classes(rows)]


def shard_losses(folder: ShardFolder) -> list[Html]:
    """The losses at the end of the optimisation, mean over the shards."""
    records = list(folder.records.values())
    names = sorted({name for record in records for name in record.losses})
    rows = []
    for name in names:
        values = [record.losses[name] for record in records if name in record.losses]
        rows.append((name, sum(values) / len(values), min(values), max(values)))
    if not rows:
        return [paragraph("Nothing was optimised.")]
    return [table(("loss", "mean of the shards", "lowest", "highest"), rows)]


def _classes(rows: Sequence[tuple[str, int, float]]) -> Html:
    return table(("class", "images", "teacher agrees"), [(name, count, percent(share)) for name, count, share in rows])


def _seconds(folder: ShardFolder) -> float:
    return sum(record.seconds for record in folder.records.values())


def _encoded(sheet: Image.Image, *, lossless: bool) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    if lossless:
        sheet.save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), "png"
    sheet.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "jpeg"
