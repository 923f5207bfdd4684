"""Teachers and students in memory: they do what named ones do, and those that do not fit are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forging import forge
from torch import nn

from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.stage import run
from dreamdistill.shared.core.config import to_mapping
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.checkpoints import MODEL_WEIGHTS
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.state_dicts import read_weights
from dreamdistill.shared.models.students import new_network

DIGITS = Preprocessing(mean=(0.305,), std=(0.376,), image_size=8)


def config(shards: Path, out: Path, **settings: object) -> DistillConfig:
    training = Training(epochs=2, batch_size=10, flip=False, loader="webdataset")
    return DistillConfig(out=out, shards=shards, changes=to_mapping(training), **settings)  # type: ignore[arg-type]


def small_student(seed: int = 0) -> nn.Module:
    return new_network("digits_cnn_small", num_classes=10, preprocessing=DIGITS, seed=seed)[1]


def saved(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / MODEL_WEIGHTS)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.cpu
def test_networks_in_memory_are_trained_as_named_ones_are(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path / "named", student="digits_cnn_small", inherit="off"))
    student = small_student()

    run(config(shards, tmp_path / "memory"), teacher=load_model("digits_cnn"), student=student)

    assert same(saved(tmp_path / "memory"), saved(tmp_path / "named"))
    assert same(student.state_dict(), saved(tmp_path / "memory"))
    assert not student.training
    assert json.loads((tmp_path / "memory/model.json").read_text())["architecture"] is None


def test_a_finished_run_gives_its_weights_to_the_module(shards: Path, tmp_path: Path) -> None:
    first, again = small_student(), small_student()
    report = run(config(shards, tmp_path / "s"), student=first)
    assert run(config(shards, tmp_path / "s"), student=again) == report
    assert same(again.state_dict(), first.state_dict())
    third = small_student()
    measured = run(config(shards, tmp_path / "s", eval="digits"), student=third)  # measured again, not trained again
    assert measured is not None
    assert measured.student_top1 is not None
    assert same(third.state_dict(), first.state_dict())
    with pytest.raises(ConfigError, match="other settings"):  # the weights that it starts from are others
        run(config(shards, tmp_path / "s"), student=small_student(seed=1))


@pytest.mark.cpu
def test_a_frozen_student_is_made_trainable_and_a_partly_frozen_one_keeps_its_frozen_layers(
    shards: Path, tmp_path: Path
) -> None:
    frozen = small_student().requires_grad_(False)
    run(config(shards, tmp_path / "frozen"), student=frozen)
    assert not same(frozen.state_dict(), small_student().state_dict())
    partly = small_student()
    stem = partly.get_submodule("conv1").requires_grad_(False)
    before = copy.deepcopy(stem.state_dict())
    run(config(shards, tmp_path / "partly"), student=partly)
    assert same(stem.state_dict(), before)


@pytest.mark.cpu
def test_without_a_name_the_student_is_a_copy_of_the_teacher_with_new_weights(shards: Path, tmp_path: Path) -> None:
    forge(shards / "manifest.json", lambda manifest: manifest["teacher"].update(name=None))
    teacher = load_model("digits_cnn")
    before = copy.deepcopy(teacher.network.state_dict())
    run(config(shards, tmp_path / "s"), teacher=teacher)
    assert same(teacher.network.state_dict(), before)
    assert saved(tmp_path / "s").keys() == before.keys()
    assert not same(saved(tmp_path / "s"), before)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "7 classes and the teacher 10"),
        (lambda: nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten()), "does not take 8x8 images of 1 channels"),
    ],
)
def test_a_student_in_memory_that_does_not_fit_is_refused(
    shards: Path, tmp_path: Path, student: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(config(shards, tmp_path / "s"), student=student())
    assert not (tmp_path / "s").exists()


def test_a_teacher_in_memory_must_be_the_one_that_made_the_shards(shards: Path, tmp_path: Path) -> None:
    teacher = load_model("digits_cnn")
    with pytest.raises(ConfigError, match="not the teacher of these shards"):
        run(config(shards, tmp_path / "s"), teacher=load_model("digits_cnn", weights="none"))
    with pytest.raises(ConfigError, match="another --mean, --std or --image-size"):
        run(config(shards, tmp_path / "s"), teacher=load_model("digits_cnn", mean=(0.5,)))
    with pytest.raises(ConfigError, match="leave --teacher and --weights out"):
        run(config(shards, tmp_path / "s", teacher="digits_cnn"), teacher=teacher)
    with pytest.raises(ConfigError, match="leave --student and --init out"):
        run(config(shards, tmp_path / "s", student="digits_cnn"), student=small_student())
    assert not (tmp_path / "s").exists()


def test_a_teacher_in_memory_replaces_one_that_does_not_load(shards: Path, tmp_path: Path) -> None:
    forge(shards / "manifest.json", lambda manifest: manifest["teacher"].update(weights="/gone/away.safetensors"))
    report = run(
        replace(config(shards, tmp_path / "s", student="digits_cnn_small"), eval="digits"),
        teacher=load_model("digits_cnn"),
    )
    assert report is not None
    assert report.teacher_top1 is not None
