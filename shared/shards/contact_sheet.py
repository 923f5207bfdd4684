"""A contact sheet: square images of one size in blocks, each with a label, and a caption below."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from PIL import Image, ImageDraw, ImageFont

MIN_SIDE = 32  # pixels; smaller images are enlarged by an integer factor
MIN_WIDTH = 320  # pixels of a labelled sheet, so that the caption has room
FONT_SIZE = 13  # pixels; larger on a wide sheet, because a web page shrinks a wide picture to its own width:
SHEET_PER_FONT = 66  # width of a sheet per font size
BLOCK_PER_FONT = 6  # width of a block per font size, if labels are above the blocks; names need at least as much
MIN_LETTERS = 3  # letters before an ellipsis; a name with fewer is left out
NUMBER_COLOUR, NAME_COLOUR, CAPTION_COLOUR = (120, 120, 120), (30, 30, 30), (90, 90, 90)
SEPARATOR = "  ·  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Images that belong together, and their label: a number and a name, which may be empty."""

    images: Sequence[Image.Image]
    number: str = ""
    name: str = ""


def contact_sheet(rows: Sequence[Sequence[Image.Image | None]], side: int | None = None) -> Image.Image:
    """A plain sheet on white: one row of images below the other, without text. None leaves a position empty.

    Args:
        side: side of an image in pixels; None means its own, enlarged by an integer factor to 32 or more.
    """
    side = side or _default_side(next(image for row in rows for image in row if image is not None))
    gap = _gap(side)
    pitch, columns = side + gap, max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * pitch + gap, len(rows) * pitch + gap), "white")
    for index, row in enumerate(rows):
        _paste_row(sheet, row, side, gap, gap + index * pitch)
    return sheet


def block_sheet(blocks: Sequence[Block], columns: int, side: int | None = None) -> Image.Image:
    """A plain sheet of blocks, as many in a row as fit into ``columns`` images. All are as wide as the largest."""
    width, beside = _blocks_per_row(blocks, columns)
    padded = [[*block.images, *[None] * (width - len(block.images))] for block in blocks]
    return contact_sheet([list(chain(*padded[i : i + beside])) for i in range(0, len(padded), beside)], side)


def labelled_sheet(
    blocks: Sequence[Block], columns: int, side: int | None = None, *, caption: Sequence[str]
) -> Image.Image:
    """A sheet of blocks with labels: beside the images if a row has one block, else above them.

    A text that is too long is cut with an ellipsis. Above narrow blocks there are numbers only.

    Args:
        columns: images in a row, at most.
        side: side of an image in pixels; None means its own, enlarged by an integer factor to 32 or more.
        caption: parts of the text below, which fill as many lines as they need.
    """
    side = side or _default_side(blocks[0].images[0])
    width, beside = _blocks_per_row(blocks, columns)
    images_width = width * (side + _gap(side)) - _gap(side)
    if beside == 1:
        body = _labels_left(blocks, side, images_width)
    else:
        body = _labels_above(blocks, side, images_width, beside)
    return _with_caption(body, caption)


def _labels_left(blocks: Sequence[Block], side: int, images_width: int) -> Image.Image:
    """One block in each row: a column of numbers, a column of names, and the images."""
    text = _Text.of(images_width)
    names = [text.shorten(block.name, max(images_width // 3, 8 * text.size)) for block in blocks]
    number_width, name_width = (max(map(text.width, column)) for column in ([block.number for block in blocks], names))
    numbers_right = text.margin + number_width
    names_left = numbers_right + (text.margin if number_width and name_width else 0)
    images_left = names_left + name_width + (text.margin if number_width or name_width else 0)
    row_height = max(side, text.line_height)
    pitch = row_height + _gap(side)
    size = images_left + images_width + text.margin, 2 * text.margin + len(blocks) * pitch - _gap(side)
    sheet = Image.new("RGB", size, "white")
    for index, (block, name) in enumerate(zip(blocks, names, strict=True)):
        top = text.margin + index * pitch
        middle = top + row_height // 2
        text.draw(sheet, (numbers_right - text.width(block.number), middle), block.number, NUMBER_COLOUR)
        text.draw(sheet, (names_left, middle), name, NAME_COLOUR)
        _paste_row(sheet, block.images, side, images_left, top + (row_height - side) // 2)
    return sheet


def _labels_above(blocks: Sequence[Block], side: int, images_width: int, beside: int) -> Image.Image:
    """Several blocks in each row, each below its label."""
    text = _Text.of(beside * images_width, block_width=images_width)
    block_width = max(images_width, *(text.width(block.number) for block in blocks))
    has_names = block_width >= BLOCK_PER_FONT * text.size
    x_pitch, y_pitch = block_width + text.margin, text.line_height + side + text.margin
    rows = -(-len(blocks) // beside)
    sheet = Image.new("RGB", (text.margin + beside * x_pitch, text.margin + rows * y_pitch), "white")
    for index, block in enumerate(blocks):
        left, top = text.margin + index % beside * x_pitch, text.margin + index // beside * y_pitch
        middle = top + text.line_height // 2
        text.draw(sheet, (left, middle), block.number, NUMBER_COLOUR)
        if has_names:
            indent = text.width(f"{block.number} ") if block.number else 0
            text.draw(sheet, (left + indent, middle), text.shorten(block.name, block_width - indent), NAME_COLOUR)
        _paste_row(sheet, block.images, side, left, top + text.line_height)
    return sheet


def _with_caption(body: Image.Image, parts: Sequence[str]) -> Image.Image:
    """The sheet with its caption below."""
    width = max(body.width, MIN_WIDTH)
    text = _Text.of(width)
    room = width - 2 * text.margin
    lines: list[str] = []
    for part in (text.shorten(part, room) for part in parts):
        if lines and text.width(joined := lines[-1] + SEPARATOR + part) <= room:
            lines[-1] = joined
        else:
            lines.append(part)
    height = body.height + len(lines) * text.line_height + (text.margin if lines else 0)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(body)
    for index, line in enumerate(lines):
        text.draw(sheet, (text.margin, body.height + round((index + 0.5) * text.line_height)), line, CAPTION_COLOUR)
    return sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """Text in Pillow's own font. Margins and lines are as large as the font asks for."""

    font: ImageFont.FreeTypeFont

    @classmethod
    def of(cls, sheet_width: int, *, block_width: int | None = None) -> _Text:
        """Text that is readable on a sheet of this width, and fits above blocks of this width."""
        size = sheet_width // SHEET_PER_FONT
        if block_width is not None:
            size = min(size, block_width // BLOCK_PER_FONT)
        font = ImageFont.load_default(max(FONT_SIZE, size))
        assert isinstance(font, ImageFont.FreeTypeFont)  # without a size, Pillow returns its bitmap font
        return cls(font=font)

    @property
    def size(self) -> int:
        return int(self.font.size)

    @property
    def margin(self) -> int:
        return round(0.6 * self.size)

    @property
    def line_height(self) -> int:
        return round(1.4 * self.size)

    def width(self, text: str) -> int:
        return math.ceil(self.font.getlength(text))

    def shorten(self, text: str, width: int) -> str:
        """The text in letters that the font has, cut with an ellipsis if it is wider; empty if hardly any is left."""
        text = _to_ascii(text)
        if self.width(text) <= width:
            return text
        shorter = (text[:end].rstrip() + "…" for end in range(len(text) - 1, MIN_LETTERS - 1, -1))
        return next((short for short in shorter if self.width(short) <= width), "")

    def draw(self, sheet: Image.Image, left_middle: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
        ImageDraw.Draw(sheet).text(left_middle, text, colour, self.font, anchor="lm")


def _to_ascii(text: str) -> str:
    """Pillow's own font has ASCII only: the text without accents, and with ``?`` for other letters."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letters).encode("ascii", "replace").decode()


def _blocks_per_row(blocks: Sequence[Block], columns: int) -> tuple[int, int]:
    """Images in the largest block, and how many such blocks fit into a row."""
    width = max(len(block.images) for block in blocks)
    return width, max(1, min(columns // width, len(blocks)))


def _default_side(image: Image.Image) -> int:
    return image.width * -(-MIN_SIDE // image.width)


def _gap(side: int) -> int:
    """Pixels between images of this side."""
    return max(2, side // 48)


def _paste_row(sheet: Image.Image, row: Sequence[Image.Image | None], side: int, left: int, top: int) -> None:
    for index, image in enumerate(row):
        if image is not None:
            # If the enlargement is an integer, pixels stay sharp.
            scaling = Image.Resampling.LANCZOS if side % image.width else Image.Resampling.NEAREST
            sheet.paste(image.resize((side, side), scaling), (left + index * (side + _gap(side)), top))
