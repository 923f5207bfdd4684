"""The distill stage: golden losses, labels, teachers that are missing, and runs that go on or start from others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forging import forge

from dreamdistill.distill import stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.features import StudentWithRegressors
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.checkpoints import save_model
from dreamdistill.shared.models.classifier import load_model

GOLDEN = Path(__file__).with_name("golden_losses.json")


def config(shards: Path, out: Path, **training) -> DistillConfig:
    settings = {"epochs": 3, "batch_size": 10, "flip": False, "loader": "webdataset", **training}
    return DistillConfig(out=out, shards=shards, student="digits_cnn_small", inherit="off", changes=settings)


def run(config: DistillConfig) -> stage.DistillReport:
    report = stage.run(config)
    assert report is not None  # only other processes than the first return None
    return report


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def sha256(folder: Path) -> str:
    return json.loads((folder / "model.json").read_text())["sha256"]


@pytest.mark.parametrize("labels", ["stored", "teacher"])
@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_the_student_learns_from_either_kind_of_labels(shards: Path, tmp_path: Path, labels: str, mixup: float) -> None:
    run(config(shards, tmp_path / "s", labels=labels, mixup=mixup, epochs=12, lr=0.05))
    found = losses(tmp_path / "s")
    assert len(found) == 12
    assert np.mean(found[-3:]) < 0.8 * np.mean(found[:3])
    assert load_model(str(tmp_path / "s")).num_classes == 10


@pytest.mark.parametrize(("labels", "crop"), [("stored", "pad"), ("teacher", "resized")])
def test_the_crop_follows_from_the_kind_of_labels(shards: Path, tmp_path: Path, labels: str, crop: str) -> None:
    for name in ("auto", crop):
        run(config(shards, tmp_path / name, labels=labels, crop=name, epochs=2))
    assert sha256(tmp_path / "auto") == sha256(tmp_path / crop)


@pytest.mark.cpu
@pytest.mark.parametrize("feature_weight", [0.0, 5000.0])
def test_golden_losses(shards: Path, tmp_path: Path, feature_weight: float) -> None:
    """A seeded run keeps its losses: a change of the code that changes them has changed the training."""
    settings = {"warmup_epochs": 2, "temperature": 3.0, "crop": "pad", "mixup": 0.0}
    run(config(shards, tmp_path / "s", feature_weight=feature_weight, **settings))
    found = losses(tmp_path / "s")
    assert found == pytest.approx(json.loads(GOLDEN.read_text())[f"feature_weight {feature_weight:g}"], rel=2e-3)
    assert all(math.isfinite(loss) for loss in found)


def test_feature_distillation_of_any_weight_is_learned(shards: Path, tmp_path: Path) -> None:
    """No BatchNorm follows the regressors: steps in proportion to the weight would diverge."""
    run(config(shards, tmp_path / "s", feature_weight=5000.0, epochs=12))
    found = losses(tmp_path / "s")
    assert found[-1] < 0.7 * found[0]


def test_stored_labels_need_no_teacher(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(shards / "manifest.json", lambda manifest: manifest["teacher"].update(weights="/gone/away.safetensors"))
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
    measured = run(replace(first, eval="digits"))
    assert measured.student_top1 is not None
    assert measured.seconds == report.seconds
    assert (tmp_path / "s/model.safetensors").stat().st_mtime_ns == weights


def test_a_student_starts_from_a_saved_one(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path / "first"))
    again = DistillConfig(shards=shards, out=tmp_path / "none", init=tmp_path / "first", changes={"epochs": 0})
    run(again)
    first, kept = (load_model(str(folder)) for folder in (tmp_path / "first", tmp_path / "none"))
    assert first.sha256 == kept.sha256
    on = DistillConfig(shards=shards, out=tmp_path / "on", init=tmp_path / "first", changes={"epochs": 1})
    run(on)
    assert load_model(str(tmp_path / "on")).sha256 != first.sha256
    assert load_model(str(tmp_path / "on")).architecture == first.architecture
    run(replace(config(shards, tmp_path / "first"), overwrite=True, seed=1))
    with pytest.raises(ConfigError, match=r"other settings \(other start\)"):  # the student that it began with
        run(on)
    with pytest.raises(ConfigError, match="leave --student out"):
        DistillConfig(student="digits_cnn", init=tmp_path / "first")
    with pytest.raises(ConfigError, match="classes, image size"):
        run(replace(on, init=of_other_images(tmp_path / "other", tmp_path / "first")))


def test_regressors_are_fitted_where_a_student_begins_with_trained_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    monkeypatch.setattr(StudentWithRegressors, "fit", lambda self, x_NCHW, features: fitted.append(len(features)))
    settings = config(shards, tmp_path / "new")
    settings = replace(settings, changes={**settings.changes, "feature_weight": 100.0})
    run(settings)
    assert not fitted
    run(replace(settings, student=None, init=tmp_path / "new", out=tmp_path / "init"))
    assert fitted
    fitted.clear()
    memory = replace(settings, student=None, out=tmp_path / "memory")
    stage.run(memory, student=load_model(str(tmp_path / "new")).network)
    assert fitted


def test_learning_from_the_first_rounds_alone(shards: Path, tmp_path: Path, di: Callable) -> None:
    early = replace(config(shards, tmp_path / "early"), rounds=1)
    report = run(early)
    assert (
        di("di-invert", "--teacher", "digits_cnn", "--images", 20, "--steps", 3, "--append", "--out", shards).code == 0
    )
    assert run(early) == report  # the same data as before, so it is finished
    with pytest.raises(ConfigError, match=r"other settings \(other shards\)"):
        run(replace(early, rounds=None))
    with pytest.raises(ConfigError, match="--rounds 3"):
        run(replace(early, rounds=3))


def of_other_images(folder: Path, saved: Path) -> Path:
    """A copy of a saved model that takes images of another normalisation."""
    model = load_model(str(saved))
    save_model(
        folder,
        model.network,
        architecture=model.architecture,
        num_classes=model.num_classes,
        class_names=model.class_names,
        preprocessing=replace(model.preprocessing, std=(0.7,)),
    )
    return folder


def test_a_dry_run_has_no_side_effects(shards: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    plan = stage.dry_run(config(shards, tmp_path / "s", batch_size=16))
    assert plan is not None
    assert (plan["images"], plan["steps"], plan["feature_maps"]) == (40, 9, [8, 4])
    assert plan["seconds"] > 0
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1
    assert not (tmp_path / "s").exists()
