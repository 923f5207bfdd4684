"""What a training shows and writes while it runs: steps, losses by name, and how good the student is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.distill import progress, stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.measuring import Agreement
from dreamdistill.distill.progress import TrainingProgress
from dreamdistill.shared.cli.progress import PLAIN_EVERY
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.epochs import Epoch
from dreamdistill.shared.shards.folder import ShardFolder


def config(shards: Path, out: Path, eval: str | None = None, **training: Any) -> DistillConfig:
    settings = {"epochs": 3, "batch_size": 20, "flip": False, "loader": "webdataset", **training}
    return DistillConfig(out=out, shards=shards, student="digits_cnn_small", eval=eval, changes=settings)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_each_epoch_has_the_parts_of_its_loss_by_name(shards: Path, tmp_path: Path) -> None:
    stage.run(config(shards, tmp_path / "o"))
    for line in metrics(tmp_path / "o"):
        assert set(line["parts"]) == {"logits", "features"}
        assert sum(line["parts"].values()) == pytest.approx(line["loss"], rel=1e-5)
    stage.run(config(shards, tmp_path / "stored", labels="stored"))
    assert [set(line["parts"]) for line in metrics(tmp_path / "stored")] == [{"logits"}] * 3


def test_measuring_shows_how_far_the_student_is_and_changes_no_weight(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MEASURING", 1e9)  # after every epoch
    last: dict[str, Any] = {"interpolate": "off"}  # the weights that are measured last are those of the report
    agreed = stage.run(config(shards, tmp_path / "agreement", **last))
    measured = stage.run(config(shards, tmp_path / "eval", eval="digits", **last))
    monkeypatch.setattr(TrainingProgress, "epoch", lambda self, entry, student: entry)
    stage.run(config(shards, tmp_path / "nothing", **last))

    assert agreed is not None
    assert measured is not None
    lines = metrics(tmp_path / "agreement")
    assert all(0 <= line["agreement"] <= 1 and line["student_top1"] is None for line in lines)
    assert lines[-1]["agreement"] == agreed.agreement == measured.agreement
    lines = metrics(tmp_path / "eval")
    assert lines[-1]["student_top1"] == measured.student_top1
    assert {line["teacher_top1"] for line in lines} == {measured.teacher_top1}
    weights = {(tmp_path / name / "model.safetensors").read_bytes() for name in ("agreement", "eval", "nothing")}
    assert len(weights) == 1


def test_the_teacher_agrees_with_itself(shards: Path) -> None:
    assert Agreement(ShardFolder.open(shards)).share(load_model("digits_cnn").network) == 1.0


def test_the_report_has_the_sizes_of_both_networks(shards: Path, tmp_path: Path) -> None:
    report = stage.run(config(shards, tmp_path / "o", epochs=0))
    assert report is not None
    assert 0 < report.parameters < report.teacher_parameters  # type: ignore[operator]
    assert 0 < report.macs < report.teacher_macs  # type: ignore[operator]


def test_a_resumed_training_says_where_it_goes_on_and_counts_its_own_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with TrainingProgress("distill", epochs=50, steps=10, done=39, measure=None, events=None) as shown:
        for number in range(1, 11):
            now[0] += 1.0
            shown.step(40, number, lambda: {"loss": 2.0, "logits": 2.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "distill: going on at epoch 40 of 50"
    assert lines[1] == "distill: 395/500 steps, 39/50 epochs, 1 steps/s, 105 s left loss 2 logits 2"
    assert len(lines) == 3
    assert now[0] == 2 * PLAIN_EVERY


def test_event_files_need_tensorboard(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"pip install 'dreamdistill\[tensorboard\]'"):
        stage.run(config(shards, tmp_path / "o", tensorboard=True))
    assert not (tmp_path / "o").exists()


def test_event_files_hold_the_figures(shards: Path, tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module, reason="TensorBoard is an extra")
    out = tmp_path / "o"
    stage.run(config(shards, out, tensorboard=True))
    read = reader.EventAccumulator(str(out / "tensorboard"))
    read.Reload()
    assert [item.step for item in read.Scalars("loss")] == [1, 2, 3]
    assert [item.value for item in read.Scalars("features")] == pytest.approx(
        [line["parts"]["features"] for line in metrics(out)]
    )


def test_an_epoch_shows_what_was_measured() -> None:
    line = Epoch(epoch=1, loss=3.0, seconds=1.0, parts={"logits": 1.0, "features": 2.0}, agreement=0.5)
    assert line.figures() == {"loss": 3.0, "logits": 1.0, "features": 2.0, "agreement": 0.5}
