"""``--inherit``: who begins as a part of the teacher, and that a run which goes on does not begin again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dreamdistill.distill import inheriting, interpolation, stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.recipe import REPAIR, STUDENT
from dreamdistill.shared.models.checkpoints import MODEL_WEIGHTS
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.state_dicts import read_weights


def config(shards: Path, out: Path, student: str | None, epochs: int = 0) -> DistillConfig:
    changes = {"epochs": epochs, "batch_size": 10, "loader": "webdataset", "flip": False}
    return DistillConfig(out=out, shards=shards, student=student, changes=changes)


def run(config: DistillConfig) -> stage.DistillReport:
    report = stage.run(config)
    assert report is not None
    return report


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_narrower_student_begins_as_a_part_of_its_teacher(shards: Path, tmp_path: Path) -> None:
    settings = config(shards, tmp_path / "part", "digits_cnn_small")
    found = run(settings)
    anew = run(replace(settings, out=tmp_path / "anew", inherit="off"))
    assert (found.inherited, anew.inherited) == (True, False)
    assert found.agreement is not None
    assert anew.agreement is not None
    assert found.agreement > anew.agreement + 0.2
    plan = stage.dry_run(settings)
    assert plan is not None
    assert (plan["inherits"], plan["lr"]) == (True, REPAIR.lr)
    given = stage.dry_run(replace(settings, changes={**settings.changes, "lr": 0.02}))
    assert given is not None
    assert given["lr"] == 0.02


@pytest.mark.parametrize("student", [None, "digits_cnn", "cifar_resnet20"])
def test_others_begin_anew(shards: Path, tmp_path: Path, student: str | None) -> None:
    plan = stage.dry_run(config(shards, tmp_path / "s", student, epochs=1))
    assert plan is not None
    assert (plan["inherits"], plan["lr"]) == (False, STUDENT.lr)


def test_a_run_that_goes_on_does_not_begin_again(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolation, "SHARES", (0.5,))  # what the run began with must be known to the end
    settings = config(shards, tmp_path / "s", "digits_cnn_small", epochs=2)
    calm = config(shards, tmp_path / "calm", "digits_cnn_small", epochs=2)
    run(calm)
    saved: list[Path] = []

    def stop(*arguments: object, **named: object) -> None:
        saved.append(tmp_path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    assert saved

    def unasked(*arguments: object, **named: object) -> None:
        raise AssertionError("the checkpoint has the weights")

    monkeypatch.setattr(inheriting, "inherit", unasked)
    assert run(settings).inherited
    one, other = (read_weights(folder / MODEL_WEIGHTS) for folder in (settings.out, calm.out))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_network_in_memory_keeps_its_weights(shards: Path, tmp_path: Path) -> None:
    student = load_model("digits_cnn_small", weights="none").network
    report = stage.run(config(shards, tmp_path / "s", None, epochs=1), student=student)
    assert report is not None
    assert report.inherited is False
