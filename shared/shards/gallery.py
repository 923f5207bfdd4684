"""A picture of a shard folder: the first images of each class, with the classes' names and a caption."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ..core.errors import ConfigError
from ..core.files import cut_path, write_bytes
from ..data.images import JPEG_QUALITY
from .contact_sheet import Block, block_sheet, labelled_sheet
from .folder import ShardFolder
from .quality import read_score

JPEG_LIMIT = 65_500  # pixels of a JPEG's side


def write_gallery(
    folder: ShardFolder,
    path: Path,
    *,
    columns: int = 10,
    classes: tuple[int, ...] | None = None,
    side: int | None = None,
    labels: bool = True,
) -> tuple[int, int]:
    """Write a picture with the first images of each class, in the order of the classes.

    A class begins a new row, or stands beside the one before if both fit into ``columns`` images.

    Args:
        path: a JPEG if its name ends in .jpg or .jpeg, else a PNG.
        columns: images of a class, at most.
        classes: the classes to show; None shows every class that has images.
        side: side of an image in pixels; None means its own, enlarged by an integer factor to 32 or more.
        labels: whether to write the number and name of each class, and a caption with the teacher, the recipes, the
            number of images, the agreement and the score, if there is one.

    Returns:
        Number of classes and number of images in the picture.

    Raises:
        ConfigError: the folder has no images of these classes, or the file cannot be written.
    """
    found = _first_images(folder, columns, classes)
    if not found:
        raise ConfigError(f"{folder.path} has no images of these classes; show others, or leave --classes out")
    names = folder.manifest.teacher.class_names
    blocks = [
        Block(images=found[target], number=str(target), name=names[target] if target < len(names) else "")
        for target in sorted(found)
    ]
    if labels:
        sheet = labelled_sheet(blocks, columns, side, caption=caption_of(folder))
    else:
        sheet = block_sheet(blocks, columns, side)
    try:
        write_bytes(path, _encode(sheet, path))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return len(found), sum(map(len, found.values()))


def caption_of(folder: ShardFolder) -> list[str]:
    """The parts of a gallery's caption."""
    name = folder.manifest.teacher.title
    recipes = folder.manifest.recipe_names
    parts = [
        # The path of a network of the user's own says little to others, and may be long.
        f"Teacher {cut_path(name)}",
        f"recipe{'s' if len(recipes) > 1 else ''} {', '.join(recipes)}",
        f"{folder.num_samples:,} images",
        f"teacher agreement {100 * folder.agreement:.1f} %",
    ]
    if (score := read_score(folder)) is None:
        return parts
    if (agreement := score.synthetic.verifier_agreement) is not None:
        parts.append(f"verifier agreement {100 * agreement:.1f} %")
    parts.append(f"diversity {score.synthetic.diversity:.3f}")
    if score.frechet is not None:
        parts.append(f"Fréchet distance {score.frechet:.3g}")
    return parts


def _first_images(folder: ShardFolder, count: int, classes: tuple[int, ...] | None) -> dict[int, list[Image.Image]]:
    """Class -> its first ``count`` images, in the folder's order."""
    found: dict[int, list[Image.Image]] = {}
    for image, target in folder.images():
        if classes is None or target in classes:
            images = found.setdefault(target, [])
            if len(images) < count:
                images.append(image)
    return found


def _encode(sheet: Image.Image, path: Path) -> bytes:
    buffer = io.BytesIO()
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        sheet.save(buffer, "PNG", optimize=True)
    elif max(sheet.size) > JPEG_LIMIT:
        raise ConfigError(
            f"{path} would be {sheet.width:,} x {sheet.height:,} pixels, and JPEG allows {JPEG_LIMIT:,}:"
            " write a .png, or show fewer --classes or a smaller --side"
        )
    else:
        # Without chroma subsampling, which would blur text and enlarged pixels.
        sheet.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()
