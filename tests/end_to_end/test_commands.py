"""The real commands from end to end, on real teachers, as small as they go."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.cost import num_parameters

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
BIN = Path(sys.executable).parent

TINY = {
    "eval": "digits",
    "latency_batch": 8,
    "workers": 1,
    "stages": {
        "synthetic": {"stage": "invert", "teacher": "digits_cnn", "images": 40, "shard_size": 20, "steps": 4},
        "noise": {"stage": "invert", "teacher": "digits_cnn", "recipe": "noise", "images": 40},
        "student": {"stage": "distill", "shards": "synthetic", "student": "digits_cnn_small", "epochs": 2},
        "noise_student": {"stage": "distill", "shards": "noise", "student": "digits_cnn_small", "epochs": 2},
        "pruned": {"stage": "prune", "shards": "synthetic", "ratio": 0.3, "iterations": 2, "epochs": 1},
        "pruned_student": {"stage": "distill", "shards": "synthetic", "student": "pruned", "epochs": 1},
    },
}


def console(*words: object) -> dict:
    """The real console script, its stdout read as JSON: nothing else may be there."""
    done = subprocess.run(
        [BIN / str(words[0]), *map(str, words[1:])], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.cpu
def test_a_pipeline_of_every_stage_and_again_from_where_it_is(di: Callable, tmp_path: Path) -> None:
    file, out = tmp_path / "tiny.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(TINY, sort_keys=False))
    first = di("di-run", file, "--out", out, "--json")
    assert first.code == 0, first.stderr
    assert "stage 2 of 6: noise (invert)" in first.stderr
    report = json.loads(first.stdout)
    assert report == json.loads((out / "report.json").read_text())
    for key in ("teacher_top1", "student_top1", "noise_student_top1", "pruned_top1", "pruned_macs_ratio"):
        assert 0 <= report[key] <= 1, key
    assert report["teacher_top1"] == pytest.approx(435 / 450)
    assert report["pruned_macs_ratio"] < 0.9
    pruned = report["stages"]["pruned"]["result"]
    assert pruned["filters_after"] == pytest.approx(0.7 * pruned["filters_before"], abs=2)
    assert [row["name"] for row in report["networks"]] == [
        "teacher", "student", "noise_student", "pruned", "pruned_student",
    ]  # fmt: skip
    assert report["networks"][3]["macs"] == report["networks"][4]["macs"]

    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} | {
        path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")
    }
    again = json.loads(di("di-run", file, "--out", out, "--json").stdout)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert again["seconds"] == report["seconds"]

    table = di("di-run", file, "--out", out)
    assert "96.67 %" in table.stdout
    assert "noise student" in table.stdout
    assert f"{out}/report.json" in table.stdout


def test_a_pruned_network_loads_as_it_was_measured(di: Callable, shards: Path, tmp_path: Path) -> None:
    options = [
        "--shards",
        shards,
        "--out",
        tmp_path / "p",
        "--iterations",
        1,
        "--epochs",
        0,
        "--eval",
        "digits",
        "--json",
    ]
    pruned = json.loads(di("di-prune", *options).stdout)
    again = load_model(str(tmp_path / "p"))
    assert num_parameters(again.network) == pruned["parameters_after"]
    assert top1(again.network, open_labelled("digits", 10), again.preprocessing) == pruned["top1_after"]
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "README.md", "choices.json", "config.yaml", "layers.csv", "model.json", "model.safetensors", "report.json",
    ]  # fmt: skip


def test_workers_do_not_change_a_byte(di: Callable, tmp_path: Path) -> None:
    options = ["--teacher", "digits_cnn", "--images", 30, "--shard-size", 10, "--steps", 3]
    for workers in (1, 2):
        assert di("di-invert", *options, "--workers", workers, "--out", tmp_path / str(workers)).code == 0
    for name in ("000000.tar", "000001.tar", "000002.tar", "000000.idx", "_info.json", "manifest.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_batches_are_of_one_size_and_surplus_images_are_dropped(di: Callable, tmp_path: Path) -> None:
    options = ["--teacher", "digits_cnn", "--steps", 3, "--batch-size", 20, "--json", "--workers", 1]
    assert di("di-invert", *options, "--images", 31, "--out", tmp_path / "a").code == 0
    made = json.loads((tmp_path / "a/manifest.json").read_text())["rounds"][0]
    assert (made["batch"], made["images"]) == (16, 31)  # two batches, 32 images, one too many
    assert json.loads((tmp_path / "a/000000.json").read_text())["count"] == 31
    assert di("di-shards", "verify", tmp_path / "a").code == 0
    assert di("di-invert", *options, "--images", 3, "--shard-size", 40, "--out", tmp_path / "b").code == 0
    assert json.loads((tmp_path / "b/manifest.json").read_text())["rounds"][0]["batch"] == 3


def test_a_compiled_run_goes_on_as_it_was_begun(di: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether a run is compiled is the matter here; what kernels compute is tests/invert/test_execution.py's.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    options = ["--teacher", "digits_cnn", "--images", 12, "--shard-size", 4, "--steps", 3, "--workers", 1]
    options += ["--out", tmp_path / "a"]
    begun = di("di-invert", *options, "--compile", "on")
    assert begun.code == 0, begun.stderr
    assert begun.stderr.count("compiled the step for (4, 1, 10, 10) in ") == 1
    tars = {name: (tmp_path / "a" / name).read_bytes() for name in ("000000.tar", "000001.tar", "000002.tar")}
    (tmp_path / "a/000001.json").unlink()
    refused = di("di-invert", *options, "--compile", "off")
    assert refused.code == 2
    assert "was begun with --compile on" in refused.stderr
    again = di("di-invert", *options)
    assert again.code == 0
    assert "compiled the step" in again.stderr
    assert {name: (tmp_path / "a" / name).read_bytes() for name in tars} == tars


def test_precedence_command_line_environment_file_preset(
    di: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("teacher: digits_cnn\nsteps: 3\nlr: 0.3\njitter: 1\nimages: 10\nworkers: 1\n")
    monkeypatch.setenv("DI_INVERT_STEPS", "2")
    monkeypatch.setenv("DI_INVERT_LR", "0.2")
    assert di("di-invert", "--config", file, "--lr", 0.1, "--out", tmp_path / "s").code == 0
    recipe = json.loads((tmp_path / "s/manifest.json").read_text())["rounds"][0]["recipe"]
    assert (recipe["lr"], recipe["steps"], recipe["jitter"], recipe["batch_size"]) == (0.1, [2], 1, 256)


@pytest.mark.parametrize("name", ["di-invert", "di-distill", "di-prune"])
def test_dry_runs_write_nothing(di: Callable, shards: Path, tmp_path: Path, name: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    out = tmp_path / "out"
    source = ["--teacher", "digits_cnn", "--images", 40] if name == "di-invert" else ["--shards", shards]
    result = di(name, *source, "--out", out, "--dry-run", "--json")
    assert result.code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["images" if name != "di-prune" else "images_per_iteration"] == 40
    assert not out.exists()
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "sides"), [([], [8, 4]), (["--feature-weight", 0], []), (["--labels", "stored"], [])]
)
def test_a_dry_run_lists_the_sides_of_the_feature_maps(
    di: Callable, shards: Path, options: list[object], sides: list[int]
) -> None:
    result = di("di-distill", "--shards", shards, "--student", "digits_cnn_small", *options, "--dry-run", "--json")
    assert json.loads(result.stdout)["feature_maps"] == sides


def test_looking_at_shards(di: Callable, shards: Path, tmp_path: Path) -> None:
    shown = json.loads(di("di-shards", "show", shards, "--json").stdout)
    assert (shown["images"], shown["shards"], shown["teacher"]) == (40, 2, "digits_cnn")
    assert di("di-shards", "verify", shards).code == 0
    made = json.loads(
        di("di-shards", "gallery", shards, "--out", tmp_path / "g.png", "--columns", 3, "--no-labels", "--json").stdout
    )
    assert (made["classes"], made["images"]) == (10, 30)
    from PIL import Image

    with Image.open(tmp_path / "g.png") as sheet:
        assert sheet.size == (3 * 34 + 2, 10 * 34 + 2)
    options = ["--columns", 10, "--classes", "0,1,2,3,4", "--side", 4, "--no-labels", "--out", tmp_path / "g.jpg"]
    assert di("di-shards", "gallery", shards, *options).code == 0
    with Image.open(tmp_path / "g.jpg") as sheet:  # four images a class, so two classes a row
        assert (sheet.format, sheet.size) == ("JPEG", (8 * 6 + 2, 3 * 6 + 2))


def test_adaptive_images_compete_against_a_student(di: Callable, shards: Path, tmp_path: Path) -> None:
    student = tmp_path / "student"
    options = ["--student", "digits_cnn_small", "--epochs", 1]
    assert di("di-distill", "--shards", shards, *options, "--out", student).code == 0
    options = ["--teacher", "digits_cnn", "--images", 10, "--steps", 3, "--workers", 1, "--append"]
    assert di("di-invert", *options, "--compete-with", student, "--seed", 5, "--out", shards).code == 0
    added = json.loads((shards / "manifest.json").read_text())["rounds"][1]
    assert added["student"] == json.loads((student / "model.json").read_text())["sha256"]
    assert "compete" in json.loads((shards / "000002.json").read_text())["losses"]
    assert json.loads(di("di-shards", "show", shards, "--json").stdout)["images"] == 50


def test_a_torchvision_network_goes_through_every_stage(di: Callable, tmp_path: Path) -> None:
    """resnet18 with random weights, two steps of everything: the path is sound, the images are not."""
    shards = tmp_path / "shards"
    teacher = ["--teacher", "resnet18", "--weights", "none", "--num-classes", 10, "--image-size", 64]
    batch, parts = ["--batch-size", 2], ["--images", 4, "--shard-size", 2, "--workers", 1]
    made = console("di-invert", *teacher, *batch, *parts, "--steps", 2, "--out", shards, "--json")
    assert made["images"] == 4
    assert set(made) == set("images shards seconds agreement clipped verdict teacher_top1 warnings".split())
    short = ["--epochs", 1, *batch, "--shards", shards, "--json"]
    assert json.loads(di("di-distill", *short, "--out", tmp_path / "d").stdout)["student_top1"] is None
    pruned = json.loads(di("di-prune", *short, "--iterations", 1, "--out", tmp_path / "p").stdout)
    assert pruned["filters_after"] < 0.75 * pruned["filters_before"]
    assert pruned["macs_after"] < pruned["macs_before"]


@pytest.mark.skipif(not DATA.exists(), reason="the real CIFAR teacher and images are not at hand")
def test_the_real_cifar_teacher_agrees_with_its_images(tmp_path: Path) -> None:
    teacher = ["--teacher", "cifar_resnet20", "--weights", DATA / "cifar10-resnet20.safetensors"]
    settings = ["--steps", 60, "--lr", 0.1, "--alpha-feature", 0.1, "--images", 20, "--workers", 1]
    made = console("di-invert", *teacher, *settings, "--out", tmp_path / "s", "--json")
    assert made["agreement"] >= 0.9
