"""The export stage of a pipeline: done once, measured beside the networks, and refused early."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamdistill.pipelines.plan import load_pipeline
from dreamdistill.shared.report.commands import command_line

IMAGES = {"teacher": "digits_cnn", "recipe": "noise", "images": 20, "shard_size": 20, "workers": 1}


def pipeline(folder: Path, **files: dict[str, Any]) -> Path:
    path = folder / "p.yaml"
    stages = {"synthetic": {"stage": "invert", **IMAGES}}
    stages |= {name: {"stage": "export", **options} for name, options in files.items()}
    path.write_text(yaml.safe_dump({"out": str(folder / "run"), "eval": "digits", "stages": stages}, sort_keys=False))
    return path


@pytest.mark.cpu
def test_files_stand_beside_the_networks_and_are_written_once(di: Callable, tmp_path: Path) -> None:
    path = pipeline(
        tmp_path,
        both={"model": "digits_cnn", "int8": True, "shards": "synthetic"},
        single={"model": "digits_cnn", "batch": "1", "normalize": True},
        weights={"model": "digits_cnn", "format": "state_dict"},
    )
    # pt2 and state_dict are not measured, and what goes to every stage must not stop them.
    text = path.read_text().replace("eval: digits\n", "")
    for name in ("synthetic", "both", "single"):
        text = text.replace(f"  {name}:\n", f"  {name}:\n    eval: digits\n")
    path.write_text(text)
    done = di("di-run", path, "--json")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {row["name"]: row for row in report["networks"]}
    assert list(rows) == ["teacher", "both", "both_int8", "single"]
    assert rows["both"]["top1"] == rows["single"]["top1"] == rows["teacher"]["top1"] > 0.9
    assert rows["both_int8"]["bytes"] < rows["both"]["bytes"]
    assert all(row["latency_ms"] > 0 for row in rows.values())
    assert set(report["confusions"]) == {"teacher"}
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("model*")}
    assert len(written) == 5  # two ONNX files, one more, weights and their code
    again = di("di-run", path, "--json")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["stages"] == report["stages"]
    assert {file: file.stat().st_mtime_ns for file in written} == written

    path.write_text(text.replace("batch: '1'", "batch: '2'"))
    refused = di("di-run", path)
    assert refused.code == 2
    assert "other settings (batch 1, now 2)" in refused.stderr.splitlines()[-1]


def test_a_missing_package_is_noticed_before_the_first_stage(
    fails: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fails("di-run", pipeline(tmp_path, file={"model": "digits_cnn"}), code=2, says=["pip install"])
    assert not (tmp_path / "run").exists()


def test_its_command_writes_the_same_file(tmp_path: Path) -> None:
    path = pipeline(tmp_path, file={"model": "digits_cnn", "int8": True, "shards": "synthetic", "batch": "4"})
    *_, stage = load_pipeline(str(path), {}).stages
    out = tmp_path / "run"
    options = f"--out {out}/file/model.onnx --int8 --shards {out}/synthetic --batch 4 --eval digits"
    written = command_line("di-model", stage.config.as_command, "export", stage.config.model)
    assert written == f"di-model export digits_cnn {options}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ["--model is required"]),
        ({"model": "digits_cnn", "int8": True}, ["--int8 needs --shards"]),
        ({"model": "digits_cnn", "format": "pt2"}, ["--eval goes with --format onnx"]),
        ({"model": "nowhere"}, ["nowhere"]),
    ],
)
def test_what_cannot_be_exported_is_refused(
    fails: Callable, tmp_path: Path, options: dict[str, Any], says: list[str]
) -> None:
    fails("di-run", pipeline(tmp_path, file=options), "--dry-run", code=2, says=says)
