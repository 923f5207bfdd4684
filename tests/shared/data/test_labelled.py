"""Evaluation sets of every kind, and top-1 accuracy."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.digit_set import load_digits
from dreamdistill.shared.data.labelled import LabelledSet, labelled_batches, open_labelled
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.preprocessing import Preprocessing

Measure = Callable[..., float]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def image(colour: int, width: int = 32, height: int = 32) -> Image.Image:
    return Image.new("RGB", (width, height), COLOURS[colour])


def write_tar(path: Path, labels: list[int], mode: Literal["w", "w:xz"] = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for i, label in enumerate(labels):
            buffer = io.BytesIO()
            image(i % 3).save(buffer, "JPEG", quality=95)
            for suffix, data in (("jpg", buffer.getvalue()), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{i:06d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.xz", "w:xz")])
def test_tars(measure: Measure, tmp_path: Path, name: str, mode: Literal["w", "w:xz"]) -> None:
    write_tar(tmp_path / name, [0, 1, 2, 0, 0, 0], mode)
    assert measure(tmp_path / name) == pytest.approx(4 / 6)


def test_image_folders_of_any_size(measure: Measure, tmp_path: Path) -> None:
    for colour in range(3):
        (tmp_path / str(colour)).mkdir()
        for size in ((32, 32), (50, 40), (20, 90)):
            image(colour, *size).save(tmp_path / str(colour) / f"{size[0]}.png")
    assert open_labelled(str(tmp_path), 3).count == 9
    assert measure(tmp_path, batch_size=4) == 1.0
    assert measure(tmp_path, ("1", "0", "2")) == pytest.approx(1 / 3)


def test_the_450_test_digits_are_not_for_training() -> None:
    test, labels = load_digits(test=True)
    train, _ = load_digits(test=False)
    assert (len(test), len(train)) == (450, 1347)
    assert test.shape == (450, 8, 8)
    assert labels.bincount().min() >= 40
    teacher = load_model("digits_cnn")
    assert top1(teacher.network, open_labelled("digits", 10), teacher.preprocessing) == pytest.approx(435 / 450)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("digits", "has 10 classes and the network 3"), ("no/such/place", "no such folder or file of images; give a tar")],
)
def test_sets_that_do_not_fit_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_labelled(spec, 3)


def test_a_label_without_a_class_is_refused(measure: Measure, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [0, 12])
    with pytest.raises(ConfigError, match="sample 000001 has label 12, and the teacher has 3 classes"):
        measure(tmp_path / "a.tar")


def test_an_empty_set_is_refused() -> None:
    preprocessing = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3, image_size=32)
    with pytest.raises(ConfigError, match="no images"):
        next(labelled_batches(LabelledSet(name="none", count=0, read=lambda: iter(())), preprocessing, 8))
