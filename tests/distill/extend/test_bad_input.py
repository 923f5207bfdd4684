"""Images that cannot be new classes, and settings that make no sense: one sentence each, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{sets}:empty", ["has no images"]),
        ("{sets}:gap", ["no images of its class 1", "from 0 to 1"]),
        ("{sets}:nothing", ["no data set 'nothing'"]),
        ("{tmp}/none", ["no such folder or file of images"]),
        ("{tmp}", ["not an ImageFolder"]),
        ("digits:7-5", ["has no classes"]),
    ],
)
def test_images_that_are_no_new_classes(
    fails: Callable, made_shards: Path, sets: Path, tmp_path: Path, spec: str, says: list[str]
) -> None:
    out = tmp_path / "x"
    spec = spec.format(sets=sets, tmp=tmp_path)
    fails("di-extend", "--shards", made_shards, "--new", spec, "--out", out, code=2, says=says)
    assert not out.exists()


def test_images_to_measure_on_must_have_all_classes(
    fails: Callable, made_shards: Path, new: Path, sets: Path, tmp_path: Path
) -> None:
    options = ["--shards", made_shards, "--new", new, "--out", tmp_path / "x"]
    fails("di-extend", *options, "--eval", "digits", code=2, says=["10 classes", "12"])
    fails("di-extend", *options, "--eval", f"{sets}:old_alone", code=2, says=["no images of the new classes"])
    assert not (tmp_path / "x").exists()


def test_one_image_a_class_works_with_a_warning(di: Callable, made_shards: Path, sets: Path, tmp_path: Path) -> None:
    options = ["--shards", made_shards, "--new", f"{sets}:one_of_each", "--epochs", 1, "--out", tmp_path / "x"]
    done = di("di-extend", *options)
    assert done.code == 0
    assert "warning:" in done.stderr
    assert "a single image of the class '0'" in done.stderr


def test_smaller_images_of_another_colour_work_with_a_warning(
    di: Callable, made_shards: Path, sets: Path, tmp_path: Path
) -> None:
    options = ["--shards", made_shards, "--new", f"{sets}:Small", "--epochs", 1, "--out", tmp_path / "x"]
    done = di("di-extend", *options)
    assert done.code == 0
    assert "5x5 pixels, which are enlarged to 8x8" in done.stderr
    assert "in colour, and the teacher takes grey ones" in done.stderr


def test_shards_of_another_teacher(fails: Callable, made_shards: Path, new: Path, tmp_path: Path) -> None:
    other = ["--teacher", "digits_cnn", "--weights", "none"]
    options = ["--shards", made_shards, "--new", new, *other, "--out", tmp_path / "x"]
    fails("di-extend", *options, code=2, says=["not the teacher"])


@pytest.mark.parametrize("share", [0, 1.5, -1])
def test_a_share_out_of_range(fails: Callable, made_shards: Path, new: Path, share: float) -> None:
    fails("di-extend", "--shards", made_shards, "--new", new, "--share", share, code=2, says=["--share"])


def test_settings_that_are_missing_or_wrong(fails: Callable, made_shards: Path, new: Path) -> None:
    fails("di-extend", "--shards", made_shards, code=2, says=["--new"])
    fails("di-extend", "--shards", made_shards, "--new", new, "--criterion", "kl", code=2, says=["--criterion"])


def test_settings_without_effect_are_named(di: Callable, made_shards: Path, new: Path, tmp_path: Path) -> None:
    options = ["--shards", made_shards, "--new", new, "--dry-run", "--temperature", 2, "--out", tmp_path / "x"]

    def stderr(*more: object) -> str:
        return di("di-extend", *options, *more).stderr

    assert "--temperature has no effect" in stderr()
    assert "--shape-cutmix has no effect: --mixup is 0" in stderr("--mixup", 0, "--shape-cutmix", 0.3)
    assert "--dead-leaves" not in stderr("--dead-leaves", 0.2)
    for unanswered in (["--criterion", "ce"], ["--share", 1]):
        assert "--mixup has no effect: the old network answers for no image" in stderr("--mixup", 2, *unanswered)
