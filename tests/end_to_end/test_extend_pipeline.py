"""A pipeline of several extensions: each network makes the images for the next, and the shipped file can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from dreamdistill.pipelines.plan import load_pipeline
from dreamdistill.shared.models.classifier import load_model

STAGES = {
    "images": {"stage": "invert", "teacher": "digits_cnn", "weights": "none", "num_classes": 2, "eval": "digits:0-1"},
    "four": {"stage": "extend", "shards": "images", "new": "digits:train:2-3", "eval": "digits:0-3"},
    "images_of_four": {"stage": "invert", "teacher": "four"},
    "six": {"stage": "extend", "shards": "images_of_four", "new": "digits:train:4-5", "eval": "digits:0-5"},
}
QUICK = {"images": 20, "steps": 2, "workers": 1, "epochs": 1, "recipe": "cifar10-deepinversion", "flip": False}


def pipeline(folder: Path, **stages: object) -> Path:
    path = folder / "several.yaml"
    path.write_text(
        yaml.safe_dump({"out": str(folder / "out"), **QUICK, "stages": {**STAGES, **stages}}, sort_keys=False)
    )
    return path


def test_a_network_is_extended_twice(di: Callable, tmp_path: Path) -> None:
    result = di("di-run", pipeline(tmp_path), "--json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert load_model(str(tmp_path / "out/six")).num_classes == 6
    assert [row["name"] for row in report["networks"]] == ["teacher", "four", "six"]
    assert report["six_top1"] == report["stages"]["six"]["result"]["top1_joint"]
    assert "di-extend" in (tmp_path / "out/report.html").read_text()
    assert "the report has no confusions" not in result.stderr


def test_a_dry_run_knows_how_many_classes_each_network_has(di: Callable, fails: Callable, tmp_path: Path) -> None:
    assert di("di-run", pipeline(tmp_path), "--dry-run").code == 0
    wrong = {**STAGES["six"], "eval": "digits:0-4"}
    fails("di-run", pipeline(tmp_path, six=wrong), "--dry-run", code=2, says=["5 classes", "6"])
    assert not (tmp_path / "out").exists()


def test_the_shipped_pipeline_adds_two_digits_four_times() -> None:
    stages = load_pipeline("extend", {}).stages
    assert [stage.kind for stage in stages] == ["invert", "extend"] * 4
    extensions = [stage.config for stage in stages if stage.kind == "extend"]
    assert [config.new for config in extensions] == [f"digits:train:{first}-{first + 1}" for first in (2, 4, 6, 8)]
    makers = [stage.config for stage in stages if stage.kind == "invert"]
    assert [config.teacher for config in makers[1:]] == [str(config.out) for config in extensions[:-1]]
