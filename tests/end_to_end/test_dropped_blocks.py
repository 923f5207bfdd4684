"""A saved model that lacks a block, in every place where a saved model goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.shared.models.checkpoints import read_model_record, save_model
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.dropped import drop_blocks
from dreamdistill.shared.shards.folder import ShardFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    teacher = load_model("digits_cnn")
    drop_blocks(teacher.network, ["layer1.0"])
    save_model(
        tmp_path / "smaller",
        teacher.network,
        architecture=teacher.architecture,
        num_classes=10,
        class_names=(),
        preprocessing=teacher.preprocessing,
    )
    return tmp_path / "smaller"


def test_a_network_without_a_block_is_teacher_student_start_and_pruned(
    di: Callable, folder: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    made = di(
        *("di-invert", "--teacher", folder, "--recipe", "cifar10-deepinversion", "--steps", 2, "--images", 20),
        *("--shard-size", 10, "--workers", 1, "--out", shards),
    )
    assert made.code == 0, made.stderr
    assert ShardFolder.open(shards).manifest.teacher.sha256 == load_model(str(folder)).sha256

    quick = ["--shards", shards, "--epochs", 1, "--batch-size", 10, "--loader", "webdataset"]
    runs = {
        "same": ["di-distill"],
        "student": ["di-distill", "--student", folder],
        "init": ["di-distill", "--init", folder],
        "pruned": ["di-prune", "--ratio", 0.2, "--iterations", 1],
    }
    for out, command in runs.items():
        done = di(*command, *quick, "--out", tmp_path / out)
        assert done.code == 0, done.stderr
        assert read_model_record(tmp_path / out).dropped == ("layer1.0",)
        assert load_model(str(tmp_path / out)).architecture == "digits_cnn"
