"""Evaluation sets as people have them: the order of classes, names of files, and kinds of images."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.class_order import Classes, order_classes
from dreamdistill.shared.data.image_files import find_images, read_images, read_tar
from dreamdistill.shared.data.images import open_image
from dreamdistill.shared.data.labelled import open_labelled


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def grey(level: int) -> bytes:
    return encoded(Image.new("L", (4, 4), level))


# The order of classes


@pytest.mark.parametrize("pattern", ["{}", "{:02d}", "{:05d}"])
def test_folders_with_the_numbers_of_classes(tmp_path: Path, pattern: str) -> None:
    for label in range(12):
        (tmp_path / pattern.format(label)).mkdir()
        (tmp_path / pattern.format(label) / "a.png").write_bytes(grey(label))
    files, classes, _ = find_images(tmp_path)
    assert len(classes) == 12
    assert [(image.getpixel((0, 0)), label) for image, label in read_images(files)] == [
        ((n,) * 3, n) for n in range(12)
    ]


ORDERS: list[tuple[list[str], Sequence[str], list[str], str | None]] = [
    (["0", "1", "10", "2"], (), ["0", "1", "2", "10"], "sorted as numbers (0, 1, 2, 10)"),
    (["1", "2", "3"], (), ["1", "2", "3"], None),
    (["00", "1", "2"], (), ["00", "1", "2"], None),
    (["b", "a", "C"], (), ["C", "a", "b"], None),
    (["n01440764", "n01443537"], (), ["n01440764", "n01443537"], None),
    (["class10", "class2"], (), ["class10", "class2"], "sorted as texts, as torchvision does (class10, class2)"),
    (["10", "2", "other"], (), ["10", "2", "other"], "sorted as texts"),
    (["1", "01", "10", "9"], (), ["01", "1", "10", "9"], "sorted as texts"),  # two folders of one number
    (["cat", "dog", "ant"], ("dog", "cat", "ant"), ["dog", "cat", "ant"], None),
    (["2", "10"], ("10", "2"), ["10", "2"], None),
    (["cat", "dog"], ("dog", "cow"), ["cat", "dog"], "'dog' is class 1, and the teacher's class 0"),
    (["cat", "dog"], ("cat", "wolf"), ["cat", "dog"], None),
    (["Dog", "fire_truck"], ("Fire Truck", "dog"), ["fire_truck", "Dog"], None),
    (["a b", "a-b", "c"], ("c", "a_b", "a b"), ["a b", "a-b", "c"], "'c' is class 2, and the teacher's class 0"),
    (["a b", "a_b"], ("a_b", "a b"), ["a_b", "a b"], None),
    (["٣", "1"], (), ["1", "٣"], None),
]


@pytest.mark.parametrize(("names", "class_names", "order", "remark"), ORDERS)
def test_orders(names: list[str], class_names: Sequence[str], order: list[str], remark: str | None) -> None:
    found, said = order_classes(names, class_names)
    assert found == order
    assert (said is None) == (remark is None)
    assert remark is None or remark in str(said)


def test_another_order_than_torchvisions_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in range(11):
        (tmp_path / str(label)).mkdir()
        (tmp_path / str(label) / "a.png").write_bytes(grey(label))
    open_labelled(str(tmp_path), 11)
    assert capsys.readouterr().err == (
        f"{tmp_path}: the class folders are sorted as numbers (0, 1, 2, 3, ...), where torchvision sorts texts\n"
    )


# Names of files


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


JUNK = {"._0.png": b"\0\5\x16\7", "0/.DS_Store": b"junk", "__MACOSX/._0.png": b"junk", ".hidden/1.png": b"junk"}
TARS: dict[str, dict[str, bytes]] = {
    "dot slash": {"./0.png": grey(0), "./0.cls": b"0", "./1.png": grey(1), "./1.cls": b"1"},
    "upper case": {"0.PNG": grey(0), "0.CLS": b"0", "1.Png": grey(1), "1.cls": b"1"},
    "dots in names": {"a.b.0.png": grey(0), "a.b.0.cls": b"0", "a.b.1.cls": b"1", "a.b.1.png": grey(1)},
    "dots in folders": {"v1.0/0.png": grey(0), "v1.0/0.cls": b"0", "v1.0/1.png": grey(1), "v1.0/1.cls": b"1"},
    "folders": {"a/0.png": grey(0), "a/0.cls": b"0", "b/0.png": grey(1), "b/0.cls": b"1"},
    "rubbish": {**JUNK, "0.png": grey(0), "0.cls": b"0", "._1.cls": b"\0", "1.png": grey(1), "1.cls": b"1\n"},
    "other members": {
        **{"0.cls": b"0", "0.json": b"{}", "0.mask.png": grey(9), "0.png": grey(0), "README": b"x"},
        **{"1.cls": b"1", "1.logits.npy": b"x", "1.png": grey(1), "1.seg.png": b"no image"},
    },
    "bmp and webp": {
        **{"0.bmp": encoded(Image.new("L", (4, 4), 0), "BMP"), "0.cls": b"0"},
        **{"1.webp": encoded(Image.new("L", (4, 4), 1), "WEBP", lossless=True), "1.cls": b"1"},
    },
}


@pytest.mark.parametrize("name", TARS)
def test_members_of_tars(tmp_path: Path, name: str) -> None:
    tar = write_tar(tmp_path / "x.tar", TARS[name])
    assert [(image.getpixel((0, 0)), label) for image, label in read_tar(tar, Classes(number=2))] == [
        ((0, 0, 0), 0),
        ((1, 1, 1), 1),
    ]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"0.png": grey(0), "1.png": grey(1), "1.cls": b"1"}, "sample 0 has no image"),
        (
            {"a.0.png": grey(0), "a.1.png": grey(1), "a.1.cls": b"1"},
            r"sample a.0 has no image \(png or jpg\) or no label",
        ),
        ({"a/0.cls": b"0", "a/1.png": grey(1), "a/1.cls": b"1"}, "sample a/0 has no image"),
        ({f"a.{n}.png": grey(0) for n in range(50)}, "sample a.0 has no image"),
        ({"0.png": grey(0), "0.cls": b"2"}, r"x.tar: sample 0 has label 2, and the teacher has 2 classes.*0\.\.1"),
        ({"0.png": grey(0), "0.cls": b"-1"}, "sample 0 has label -1"),
    ],
)
def test_tars_that_are_refused(tmp_path: Path, members: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        list(read_tar(write_tar(tmp_path / "x.tar", members), Classes(number=2)))


def test_hidden_files_and_folders_are_no_classes_and_no_images(tmp_path: Path) -> None:
    for name in ("0/a.png", "1/A.JPEG", *JUNK, "0/.ipynb_checkpoints/a.png", ".ipynb_checkpoints/a.png", "1/._b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(grey(0))
    files, classes, _ = find_images(tmp_path)
    assert [(str(path.relative_to(tmp_path)), label) for path, label in files] == [("0/a.png", 0), ("1/A.JPEG", 1)]
    assert len(classes) == 2


# Kinds of images


def png16(values: list[int], colour: int) -> bytes:
    """A PNG of 16 bits a channel, one row: grey (0) or RGB (2)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width = len(values) // (3 if colour == 2 else 1)
    head = struct.pack(">IIBBBBB", width, 1, 16, colour, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def test_sixteen_bits_keep_their_upper_eight() -> None:
    levels = [0, 255, 256, 1000, 40000, 65535]
    tiff = encoded(Image.fromarray(np.array([levels], np.uint16)), "TIFF")
    pgm = b"P5\n6 1\n65535\n" + struct.pack(">6H", *levels)
    for data in (png16(levels, 0), tiff, pgm):
        pixels = np.array(open_image(data).convert("RGB"))
        assert pixels[0, :, 0].tolist() == [0, 0, 1, 3, 156, 255]
        assert (pixels == pixels[:, :, :1]).all()
    assert np.array(open_image(png16(levels, 2)).convert("RGB")).tolist() == [[[0, 0, 1], [3, 156, 255]]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(tmp_path: Path, dtype: type) -> None:
    (tmp_path / "a.tif").write_bytes(encoded(Image.fromarray(np.ones((4, 4), dtype)), "TIFF"))
    with pytest.raises(ConfigError, match=r"a.tif cannot be read: its pixels have 32 bits; save it with 8 bits"):
        list(read_images([(tmp_path / "a.tif", 0)]))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, *shape), dtype=np.uint8)


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turned by 90 degrees
    return exif


KINDS = {
    "a.png": encoded(Image.fromarray(noise(3))),
    "palette.png": encoded(Image.fromarray(noise(3)).quantize(16), transparency=b"\0\x80"),
    "alpha.png": encoded(Image.fromarray(noise(4))),
    "grey and alpha.png": encoded(Image.fromarray(noise(4)).convert("LA")),
    "one bit.png": encoded(Image.fromarray(noise()).convert("1")),
    "cmyk.jpg": encoded(Image.fromarray(noise(4)[:, :, :3]).convert("CMYK"), "JPEG"),
    "grey.JPEG": encoded(Image.fromarray(noise()), "JPEG"),
    "turned.jpg": encoded(Image.fromarray(noise(3)), "JPEG", exif=rotated()),
    "progressive.jpg": encoded(Image.fromarray(noise(3)), "JPEG", progressive=True),
    "a PNG in truth.jpg": encoded(Image.fromarray(noise(3))),
    "a.webp": encoded(Image.fromarray(noise(4)), "WEBP"),
    "a.bmp": encoded(Image.fromarray(noise(3)), "BMP"),
    "a.tiff": encoded(Image.fromarray(noise(3)), "TIFF"),
    "cmyk.tif": encoded(Image.fromarray(noise(3)).convert("CMYK"), "TIFF"),
    "a.ppm": encoded(Image.fromarray(noise(3)), "PPM"),
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # torchvision's own
def test_all_kinds_are_decoded_as_torchvisions_image_folder_does(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for name, data in KINDS.items():
        (tmp_path / "0" / name).write_bytes(data)
    files, _, _ = find_images(tmp_path)
    theirs = torchvision.datasets.ImageFolder(str(tmp_path))
    assert [str(path) for path, _ in files] == [path for path, _ in theirs.samples]
    for number, (image, _) in enumerate(read_images(files)):
        assert np.array_equal(np.array(image), np.array(theirs[number][0])), files[number]


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    for name in ("cmyk.jpg", "a.png", "a.webp", "a.tiff"):
        (tmp_path / name).write_bytes(KINDS[name][:-60])
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            list(read_images([(tmp_path / name, 0)]))
