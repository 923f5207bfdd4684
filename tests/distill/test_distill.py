"""The distillation loss against a float64 reference, the augmentations, and the training loop."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.criterion import distillation_loss, soften
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.stage import run
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model

GOLDEN = Path(__file__).with_name("golden_losses.json")


def logits(seed: int) -> torch.Tensor:
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_loss_is_the_kl_times_temperature_squared(temperature: float) -> None:
    teacher, student = logits(0), logits(1)
    p, q = (torch.softmax(z / temperature, 1).numpy() for z in (teacher, student))
    expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(1).mean()
    found = distillation_loss(student, soften(teacher, temperature), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert distillation_loss(teacher, soften(teacher, temperature), temperature).item() == pytest.approx(0, abs=1e-12)


def test_its_gradient_by_finite_differences() -> None:
    soft = soften(logits(0), 3.0)
    assert torch.autograd.gradcheck(lambda z: distillation_loss(z, soft, 3.0), (logits(1).requires_grad_(),))


def test_small_sets_take_more_passes_up_to_a_bound() -> None:
    assert [Training().passes(steps) for steps in (1, 8, 16, 80, 5000)] == [1000, 1000, 500, 100, 100]
    assert Training(epochs=3).passes(16) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"lr": 0.0},
        {"temperature": 0.0},
        {"min_area": 0.0},
        {"mixup": -1.0},
        {"epochs": -1},
        {"feature_weight": -1.0},
        {"dead_leaves": 1.5},
        {"shape_cutmix": -0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        Training(**settings)


def config(shards: Path, out: Path, **training) -> DistillConfig:
    settings = {"epochs": 3, "batch_size": 10, "flip": False, "loader": "webdataset", **training}
    return DistillConfig(out=out, shards=shards, student="digits_cnn_small", training=Training(**settings))


@pytest.mark.parametrize("labels", ["stored", "teacher"])
@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_the_student_learns_from_either_kind_of_labels(shards: Path, tmp_path: Path, labels: str, mixup: float) -> None:
    run(config(shards, tmp_path / "s", labels=labels, mixup=mixup, epochs=12, lr=0.05))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "s/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert load_model(str(tmp_path / "s")).num_classes == 10


@pytest.mark.parametrize(("labels", "crop"), [("stored", "pad"), ("teacher", "resized")])
def test_crops_go_by_what_the_label_is_of(shards: Path, tmp_path: Path, labels: str, crop: str) -> None:
    for name in ("auto", crop):
        run(config(shards, tmp_path / name, labels=labels, crop=name, epochs=2))
    of_auto, of_crop = ((tmp_path / name / "model.json").read_text() for name in ("auto", crop))
    assert json.loads(of_auto)["sha256"] == json.loads(of_crop)["sha256"]


@pytest.mark.parametrize("feature_weight", [0.0, 5000.0])
def test_golden_losses(shards: Path, tmp_path: Path, feature_weight: float) -> None:
    """A seeded run keeps its losses: a refactoring that changes them changed the training."""
    settings = {"warmup_epochs": 2, "temperature": 3.0, "crop": "pad", "mixup": 0.0}
    run(config(shards, tmp_path / "s", feature_weight=feature_weight, **settings))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "s/metrics.jsonl").read_text().splitlines()]
    assert losses == pytest.approx(json.loads(GOLDEN.read_text())[f"feature_weight {feature_weight:g}"], rel=2e-3)
    assert all(math.isfinite(loss) for loss in losses)


def test_hints_of_any_weight_are_learned(shards: Path, tmp_path: Path) -> None:
    """Guesses are no BatchNorm's: steps that went by the weight would take them to infinity."""
    run(config(shards, tmp_path / "s", feature_weight=5000.0, epochs=12))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "s/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.7 * losses[0]


def test_stored_labels_need_no_teacher(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["teacher"]["weights"] = "/gone/away.safetensors"
    (shards / "manifest.json").write_text(json.dumps(manifest))
    report = run(config(shards, tmp_path / "s"))
    assert report.teacher_top1 is None
    assert "stored logits" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no weights file"):
        run(config(shards, tmp_path / "t", labels="teacher"))


def test_a_finished_run_is_measured_again_but_not_trained_again(shards: Path, tmp_path: Path) -> None:
    first = config(shards, tmp_path / "s")
    report = run(first)
    assert report.student_top1 is None
    weights = (tmp_path / "s/model.safetensors").stat().st_mtime_ns
    measured = run(DistillConfig(**{**as_arguments(first), "eval": "digits"}))
    assert measured.student_top1 is not None
    assert measured.seconds == report.seconds
    assert (tmp_path / "s/model.safetensors").stat().st_mtime_ns == weights


def test_a_student_goes_on_from_a_saved_one(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path / "first"))
    again = DistillConfig(shards=shards, out=tmp_path / "none", init=tmp_path / "first", training=Training(epochs=0))
    run(again)
    first, kept = (load_model(str(folder)) for folder in (tmp_path / "first", tmp_path / "none"))
    assert first.sha256 == kept.sha256
    on = DistillConfig(shards=shards, out=tmp_path / "on", init=tmp_path / "first", training=Training(epochs=1))
    run(on)
    assert load_model(str(tmp_path / "on")).sha256 != first.sha256
    assert load_model(str(tmp_path / "on")).architecture == first.architecture
    run(replace(config(shards, tmp_path / "first"), overwrite=True, seed=1))
    with pytest.raises(ConfigError, match="other settings"):  # it would not be what it was begun as
        run(on)
    with pytest.raises(ConfigError, match="leave --student out"):
        DistillConfig(student="digits_cnn", init=tmp_path / "first")
    with pytest.raises(ConfigError, match="classes, image size"):
        run(replace(on, init=of_other_images(tmp_path / "other", tmp_path / "first")))


def test_learning_from_the_first_rounds_alone(shards: Path, tmp_path: Path, di: Callable) -> None:
    early = replace(config(shards, tmp_path / "early"), rounds=1)
    report = run(early)
    assert (
        di("di-invert", "--teacher", "digits_cnn", "--images", 20, "--steps", 3, "--append", "--out", shards).code == 0
    )
    assert run(early) == report  # the same data as before, so it is finished
    with pytest.raises(ConfigError, match="other settings"):
        run(replace(early, rounds=None))
    with pytest.raises(ConfigError, match="--rounds 3"):
        run(replace(early, rounds=3))


def of_other_images(folder: Path, saved: Path) -> Path:
    """A copy of a saved model that takes images of another normalisation."""
    shutil.copytree(saved, folder)
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**record, "std": [0.7]}))
    return folder


def as_arguments(made: DistillConfig) -> dict:
    return {name: getattr(made, name) for name in ("out", "shards", "student", "training")}
