"""The gallery of a shard folder: its layout, its labels and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from forging import forge
from PIL import Image, ImageChops

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.shards import gallery
from dreamdistill.shared.shards.contact_sheet import (
    FONT_SIZE,
    MIN_WIDTH,
    Block,
    block_sheet,
    contact_sheet,
    labelled_sheet,
)
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.gallery import caption_of, write_gallery
from dreamdistill.shared.shards.quality import score_folder

GREEN = (0, 200, 0)


def images(count: int, side: int = 32) -> list[Image.Image]:
    return [Image.new("RGB", (side, side), GREEN)] * count


def blocks(names: Sequence[str], count: int, side: int = 32) -> list[Block]:
    return [Block(images=images(count, side), number=str(i), name=name) for i, name in enumerate(names)]


def is_white(sheet: Image.Image, box: tuple[int, int, int, int]) -> bool:
    part = sheet.crop(box)
    return ImageChops.difference(part, Image.new("RGB", part.size, "white")).getbbox() is None


def green_box(sheet: Image.Image) -> tuple[int, int, int, int]:
    """Bounding box of all images."""
    red, green, blue = sheet.split()
    wanted = [channel.point([255 if i == value else 0 for i in range(256)]) for channel, value in
              zip((red, green, blue), GREEN, strict=True)]  # fmt: skip
    box = ImageChops.multiply(ImageChops.multiply(wanted[0], wanted[1]), wanted[2]).getbbox()
    assert box is not None
    return box


def with_names(folder: Path, names: Sequence[str], teacher: str = "digits_cnn") -> ShardFolder:
    changed = {"class_names": list(names), "name": teacher}
    forge(folder / "manifest.json", lambda manifest: manifest["teacher"].update(changed))
    return ShardFolder.open(folder)


def test_a_plain_sheet_has_images_and_nothing_else(shards: Path, tmp_path: Path) -> None:
    folder, path = ShardFolder.open(shards), tmp_path / "plain.png"
    assert write_gallery(folder, path, columns=4, labels=False) == (10, 40)
    with Image.open(path) as sheet:
        assert sheet.size == (4 * 34 + 2, 10 * 34 + 2)
    assert write_gallery(folder, path, columns=8, side=8, classes=(1, 4, 6), labels=False) == (3, 12)
    with Image.open(path) as sheet:  # two classes in a row
        assert sheet.size == (8 * 10 + 2, 2 * 10 + 2)


def test_labels_are_beside_a_row_of_one_class() -> None:
    plain = labelled_sheet(blocks([""] * 3, 10), columns=10, caption=[])
    named = labelled_sheet(blocks(["cat", "dog", "horse"], 10), columns=10, caption=[])
    assert green_box(named)[0] > green_box(plain)[0] + FONT_SIZE
    assert named.height == plain.height
    left, top, *_ = green_box(named)
    for row in range(3):
        assert not is_white(named, (0, top + row * 34, left, top + row * 34 + 32))
    assert is_white(named, (0, 0, named.width, top))


def test_labels_are_above_where_classes_share_a_row() -> None:
    sheet = labelled_sheet(blocks(["cat", "dog", "horse", "ship"], 5), columns=10, caption=[])
    left, top, right, _ = green_box(sheet)
    assert left < FONT_SIZE
    assert not is_white(sheet, (0, 0, sheet.width // 2, top))
    assert not is_white(sheet, (sheet.width // 2, 0, sheet.width, top))
    assert right - left == 2 * (5 * 34 - 2) + 8


def test_a_long_name_is_cut_and_does_not_widen_the_sheet() -> None:
    long = "a very long name of a class, with a description that no one would want in a picture"
    for count in (5, 10):
        cut = labelled_sheet(blocks([long] * 4, count), columns=10, caption=["Teacher " + 3 * long])
        assert cut.width < 1.5 * (10 * 34 + 2)
        assert green_box(cut)[2] > cut.width - 20  # the images reach the right margin


@pytest.mark.parametrize("count", [1, 4, 10])
def test_a_thousand_classes(count: int) -> None:
    names = [f"class with the number {i}" for i in range(1000)]
    sheet = labelled_sheet(blocks(names, count), columns=10, caption=["1,000 images"])
    rows = 1000 // (10 // count)
    assert sheet.width < 520
    assert rows * 34 < sheet.height < rows * 62 + 60


def test_tiny_images_leave_room_for_their_labels() -> None:
    sheet = labelled_sheet(blocks(["one", "two", "three"], 2, side=8), columns=2, side=4, caption=["Teacher digits"])
    assert sheet.width == MIN_WIDTH
    assert sheet.height > 4 * FONT_SIZE
    above = labelled_sheet(blocks(["one", "two", "three"], 1, side=8), columns=3, side=4, caption=[])
    left, _, right, _ = green_box(above)
    assert right - left > 2 * 8  # as wide as the numbers need


def test_a_wide_sheet_has_larger_text() -> None:
    small, large = (labelled_sheet(blocks(["cat", "dog"], 10, side), columns=10, caption=[]) for side in (32, 224))
    assert green_box(large)[0] > 2 * green_box(small)[0]


def test_letters_that_the_font_does_not_have() -> None:
    accents, plain = (labelled_sheet(blocks([name], 3), columns=3, caption=[]) for name in ("café", "cafe"))
    assert accents.tobytes() == plain.tobytes()
    assert not is_white(labelled_sheet(blocks(["猫"], 3), columns=3, caption=[]), (0, 0, 40, 40))


def test_images_are_enlarged_sharply_by_integers_only() -> None:
    checks = Image.new("RGB", (8, 8))
    checks.putdata([(255 * ((x + y) % 2),) * 3 for y in range(8) for x in range(8)])
    for side, sharp in ((None, True), (16, True), (20, False)):
        inner = contact_sheet([[checks]], side).crop((2, 2, 2 + (side or 32), 2 + (side or 32)))
        assert (len(inner.getcolors() or []) == 2) == sharp
    assert block_sheet([Block(images=[checks])], columns=5).size == (36, 36)


def test_the_caption_has_teacher_recipe_agreement_and_score(shards: Path) -> None:
    folder = with_names(shards, [])
    plain = ["Teacher digits_cnn", "recipe cifar10-deepinversion", "40 images"]
    assert caption_of(folder)[:3] == plain
    assert caption_of(folder)[3:] == [f"teacher agreement {100 * folder.agreement:.1f} %"]
    score_folder(shards, verifier="digits_cnn", real="digits")
    for part, begin in zip(caption_of(folder)[4:], ("verifier agreement", "diversity", "Fréchet"), strict=True):
        assert part.startswith(begin)
    assert caption_of(with_names(shards, [], "/home/me/nets.py:mine"))[0] == "Teacher nets.py:mine"
    assert caption_of(with_names(shards, [], "timm/resnet18"))[0] == "Teacher timm/resnet18"


def test_class_names_come_from_the_manifest(shards: Path, tmp_path: Path) -> None:
    sizes = []
    for names in ([], [f"digit {i}" for i in range(10)]):
        write_gallery(with_names(shards, names), tmp_path / "g.jpg", columns=4)
        with Image.open(tmp_path / "g.jpg") as sheet:
            assert sheet.format == "JPEG"
            sizes.append(sheet.copy())
    assert green_free_left(sizes[1]) > green_free_left(sizes[0]) + 2 * FONT_SIZE


def green_free_left(sheet: Image.Image) -> int:
    """Columns before the first black pixel, which only the digits have."""
    box = sheet.convert("L").point([255] * 8 + [0] * 248).getbbox()
    assert box is not None
    return box[0]


def test_what_cannot_be_drawn_or_written_is_refused(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ShardFolder.open(shards)
    with pytest.raises(ConfigError, match="no images of these classes"):
        write_gallery(folder, tmp_path / "g.png", classes=(10,))
    monkeypatch.setattr(gallery, "JPEG_LIMIT", 300)  # a picture that is too large indeed would take much memory
    with pytest.raises(ConfigError, match=r"g\.jpg would be .* JPEG allows 300"):
        write_gallery(folder, tmp_path / "g.jpg")
    with pytest.raises(ConfigError, match="cannot write"):
        write_gallery(folder, tmp_path / "missing" / "g.png")
    assert not list(tmp_path.glob("g.*"))
