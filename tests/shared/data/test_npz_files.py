"""Arrays in ``.npz`` files: names and shapes as people have them, and headers that are not to be trusted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.labelled import open_labelled

Measure = Callable[..., float]
Array = np.ndarray[Any, Any]
NHWC = np.zeros((4, 8, 8, 3), np.uint8)
for _image, _colour in enumerate((0, 1, 2, 0)):
    NHWC[_image, :, :, _colour] = 255
LABELS = np.array([0, 1, 2, 2])  # 3 of 4 are right
WRONG = (LABELS + 1) % 3

GOOD: dict[str, dict[str, Array]] = {
    "of this project": {"images": NHWC, "labels": LABELS},
    "by place": {"arr_0": NHWC, "arr_1": LABELS},
    "of Keras": {"x_train": NHWC, "y_train": WRONG, "x_test": NHWC, "y_test": LABELS.astype(np.uint8)},
    "of MedMNIST": {
        "train_images": NHWC,
        "train_labels": WRONG[:, None],
        "test_images": NHWC,
        "test_labels": LABELS[:, None],
    },
    "all and a test part": {"x": NHWC[::-1].copy(), "y": WRONG, "X_test": NHWC, "Y_test": LABELS},
    "channels first": {"data": NHWC.transpose(0, 3, 1, 2).copy(), "targets": LABELS},
    "floats": {"images": NHWC.astype(np.float32) / 255, "labels": LABELS.astype(np.float64)},
    "floats of the other byte order": {"images": (NHWC / 255).astype(">f8"), "labels": LABELS.astype(">i4")},
    "with alpha": {"images": np.concatenate([NHWC, NHWC[..., :1] * 0 + 255], 3), "labels": LABELS},
    "one-hot": {"images": NHWC, "labels": np.eye(3)[LABELS]},
    "names": {"images": NHWC, "labels": np.array(["red", "Green", "blue", "blue"])},
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", GOOD)
def test_arrays(measure: Measure, tmp_path: Path, name: str, save: Callable[..., None]) -> None:
    save(tmp_path / "x.npz", **GOOD[name])
    assert open_labelled(str(tmp_path / "x.npz"), 3, ("red", "green", "blue")).count == 4
    assert measure(tmp_path / "x.npz", ("red", "green", "blue")) == 0.75


def test_grey_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.arange(4, dtype=np.uint8).repeat(64).reshape(4, 8, 8), labels=LABELS)
    found = [(image.getpixel((0, 0)), label) for image, label in open_labelled(str(tmp_path / "x.npz"), 3).read()]
    assert found == [((n,) * 3, label) for n, label in enumerate(LABELS)]


def test_numbers_are_classes_whatever_the_names(measure: Measure, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=NHWC, labels=LABELS)
    assert measure(tmp_path / "x.npz", ("2", "1", "0")) == 0.75


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "objects": ({"images": NHWC, "labels": np.array([0, 1, {}, 2], dtype=object)}, "Python objects"),
    "images of objects": ({"images": np.array([NHWC[0], None], dtype=object), "labels": LABELS}, "Python objects"),
    "unknown names": ({"a": NHWC, "b": LABELS}, r"\(it has a, b\); write them by np.savez"),
    "training alone": ({"x_train": NHWC, "y_train": LABELS}, "it has x_train, y_train"),
    "no labels": ({"images": NHWC}, "no arrays of images and labels"),
    "a label too large": ({"images": NHWC, "labels": LABELS + 1}, r"x.npz: image 2 has label 3, .*0\.\.2"),
    "a label of numbers and parts": ({"images": NHWC, "labels": LABELS + 0.5}, "no whole numbers"),
    "NaN labels": ({"images": NHWC, "labels": LABELS * np.nan}, "no whole numbers"),
    "fewer labels": ({"images": NHWC, "labels": LABELS[:3]}, r"the shape \(3,\), and there are 4 images"),
    "several labels": ({"images": NHWC, "labels": np.ones((4, 3), int)}, "several labels for an image"),
    "flat": ({"images": NHWC.reshape(4, -1), "labels": LABELS}, r"the shape \(4, 192\)"),
    "volumes": ({"images": np.zeros((4, 8, 8, 8), np.uint8), "labels": LABELS}, "no axis of 1 or 3 channels"),
    "unclear": ({"images": np.zeros((4, 3, 8, 3), np.uint8), "labels": LABELS}, "two axes that may be 1 or 3"),
    "by columns": ({"images": np.asfortranarray(NHWC), "labels": LABELS}, "np.ascontiguousarray"),
    "complex": ({"images": NHWC.astype(complex), "labels": LABELS}, "neither numbers nor texts"),
    "unknown label": (
        {"images": NHWC, "labels": np.array(["a", "b", "c", "x"])},
        "image 0 has label 'a'|has 4 classes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_are_refused(tmp_path: Path, name: str) -> None:
    arrays, says = BAD[name]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ConfigError, match=says):
        open_labelled(str(tmp_path / "x.npz"), 3)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (NHWC.astype(np.float32), "image 0 of .*go from 0 to 255; give uint8, or floats from 0 to 1"),
        (NHWC * np.float32(np.nan), "go from nan"),
        (NHWC.astype(np.int64), "its values are int64"),
        (np.zeros((4, 1, 300), np.uint8), "it has 300x1 pixels"),
        (np.zeros((4, 0, 0, 3), np.uint8), "no axis of|0x0 pixels"),
    ],
)
def test_pixels_that_are_refused(tmp_path: Path, images: Array, says: str) -> None:
    np.savez(tmp_path / "x.npz", images=images, labels=LABELS)
    with pytest.raises(ConfigError, match=says):
        list(open_labelled(str(tmp_path / "x.npz"), 3).read())


def header_of(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


BOMBS = {
    "a shape beyond its bytes": (header_of((10**6, 10**3, 10**3, 3)) + bytes(100), "has not the size"),
    "a huge image": (header_of((1, 2**14, 2**14, 3)) + bytes(2**14), "has not the size"),
    "a negative shape": (header_of((-4, 8, 8, 3)) + bytes(100), "has not the size"),
    "an overflow": (header_of((2**62, 4, 4, 3)), "has not the size"),
    "texts of gigabytes": (header_of((4, 8, 8, 3), "<U100000000"), "has not the size"),
    "a long header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 1000, "cannot be read"),
    "no header": (b"x" * 100, "cannot be read"),
    "nothing": (b"", "cannot be read"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_headers_are_not_trusted(tmp_path: Path, name: str) -> None:
    data, says = BOMBS[name]
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("images.npy", data)
        file.writestr("labels.npy", labels.getvalue())
    with pytest.raises(ConfigError, match=says):
        open_labelled(str(tmp_path / "x.npz"), 3)


def test_a_bomb_is_not_read_into_memory(tmp_path: Path) -> None:
    labels = io.BytesIO()
    np.save(labels, LABELS)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("images.npy", "w", force_zip64=True) as stream:
            stream.write(header_of((4, 2**13, 2**13, 4), "<f8")[:128])
            for _ in range(8):
                stream.write(bytes(2**20))
        file.writestr("labels.npy", labels.getvalue())
    with pytest.raises(ConfigError, match="has not the size"):
        open_labelled(str(tmp_path / "x.npz"), 3)


@pytest.mark.parametrize("change", ["cut", "flipped", "no zip"])
def test_damaged_files(tmp_path: Path, change: str) -> None:
    np.savez(tmp_path / "x.npz", images=NHWC, labels=LABELS)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    if change == "flipped":
        data[500] ^= 255  # within the images
    (tmp_path / "x.npz").write_bytes({"cut": data[:600], "flipped": data, "no zip": b"no zip"}[change])
    with pytest.raises(ConfigError, match=r"x.npz cannot be read"):
        list(open_labelled(str(tmp_path / "x.npz"), 3).read())
