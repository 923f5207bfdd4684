"""di-extend as a whole: what it learns and says, what its result is good for, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dreamdistill as dd
from dreamdistill.distill import trainer
from dreamdistill.shared.core.errors import StoppedError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.folder import ShardFolder

QUICK = ["--no-flip", "--batch-size", 32, "--epochs", 6, "--loader", "webdataset"]


@pytest.fixture(scope="session")
def extended(run_undisturbed: Callable, made_shards: Path, new: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits teacher with two more classes. Not to be changed."""
    out = tmp_path_factory.mktemp("extended") / "out"
    run_undisturbed("di-extend", "--shards", made_shards, "--new", new, *QUICK, "--out", out)
    return out


def sha256(folder: Path) -> str:
    return json.loads((folder / "model.json").read_text())["sha256"]


def test_new_classes_are_learned_and_old_ones_kept(di: Callable, five_digits: Path, tmp_path: Path) -> None:
    options = ["--shards", five_digits, "--new", "digits:train:5-9", "--eval", "digits", "--no-flip", "--epochs", 20]
    report = json.loads(di("di-extend", *options, "--out", tmp_path / "x", "--json").stdout)
    assert (report["classes_old"], report["classes_new"]) == (5, 5)
    assert (report["images_synthetic"], report["images_new"]) == (100, 673)
    assert report["top1_old_before"] > 0.95
    assert report["top1_old"] > 0.7
    assert report["top1_new"] > 0.8
    joint = (227 * report["top1_old"] + 223 * report["top1_new"]) / 450
    assert report["top1_joint"] == pytest.approx(joint)
    assert report["confusion"]["right"] == round(450 * joint)
    assert 0.5 < report["separation"] <= 1
    assert report["class_names"] == []  # the teacher has none
    card = (tmp_path / "x/README.md").read_text()
    assert "top-1 of the new classes" in card
    assert "--shards shards --new digits:train:5-9 --eval digits" in card


def test_without_replay_the_old_classes_are_forgotten(di: Callable, five_digits: Path, tmp_path: Path) -> None:
    """The baseline that the synthetic images are there for."""
    options = ["--shards", five_digits, "--new", "digits:train:5-9", "--eval", "digits", "--no-flip", "--epochs", 10]
    alone = ["--share", 1, "--criterion", "ce", "--out", tmp_path / "x"]
    report = json.loads(di("di-extend", *options, *alone, "--json").stdout)
    assert report["images_synthetic"] == 0
    assert report["top1_new"] > 0.8
    assert report["top1_old"] < 0.3


def test_the_result_is_a_teacher_again(di: Callable, extended: Path, new: Path, tmp_path: Path) -> None:
    loaded = dd.load(extended)
    assert loaded.num_classes == 12
    assert loaded.architecture == "digits_cnn"
    images = ["--images", 24, "--steps", 2, "--workers", 1, "--recipe", "cifar10-deepinversion"]
    assert di("di-invert", "--teacher", extended, *images, "--out", tmp_path / "shards").code == 0
    again = ["--shards", tmp_path / "shards", "--new", new, *QUICK, "--epochs", 1, "--out", tmp_path / "again"]
    assert di("di-extend", *again).code == 0
    assert load_model(str(tmp_path / "again")).num_classes == 14
    assert di("di-model", "export", extended, "--format", "state_dict", "--out", tmp_path / "wide.pth").code == 0
    pruned = ["--shards", tmp_path / "shards", "--ratio", 0.2, "--iterations", 1, "--epochs", 0]
    assert di("di-prune", *pruned, "--out", tmp_path / "pruned").code == 0
    assert load_model(str(tmp_path / "pruned")).num_classes == 12


def test_a_pruned_network_gets_new_classes(di: Callable, made_shards: Path, new: Path, tmp_path: Path) -> None:
    pruned, shards = tmp_path / "pruned", tmp_path / "shards"
    assert di("di-prune", "--shards", made_shards, "--iterations", 1, "--epochs", 0, "--out", pruned).code == 0
    images = ["--images", 20, "--steps", 2, "--workers", 1, "--recipe", "cifar10-deepinversion"]
    assert di("di-invert", "--teacher", pruned, *images, "--out", shards).code == 0
    out = tmp_path / "out"
    assert di("di-extend", "--shards", shards, "--new", new, *QUICK, "--epochs", 1, "--out", out).code == 0
    before, after = load_model(str(pruned)), load_model(str(out))
    assert after.num_classes == 12
    assert after.network.get_submodule("conv1").weight.shape == before.network.get_submodule("conv1").weight.shape


def test_a_users_factory_of_a_fixed_number_of_classes(di: Callable, new: Path, tmp_path: Path) -> None:
    """It builds the old head; the saved record widens it again."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(6, 3))\n"
    )
    network = ["--teacher", f"{tmp_path}/net.py:make", "--weights", "none", "--mean", 0.5, "--std", 0.5]
    images = ["--image-size", 8, "--images", 20, "--steps", 2, "--workers", 1]
    assert di("di-invert", *network, *images, "--out", tmp_path / "shards").code == 0
    options = ["--shards", tmp_path / "shards", "--new", new, *QUICK, "--out", tmp_path / "out"]
    done = di("di-extend", *options)
    assert done.code == 0, done.stderr
    assert dd.load(tmp_path / "out").num_classes == 5


def test_class_names_follow_the_old_ones(di: Callable, new: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {number}\n" for number in range(10)))
    images = ["--images", 20, "--steps", 2, "--workers", 1, "--class-names", names]
    assert di("di-invert", "--teacher", "digits_cnn", *images, "--out", tmp_path / "shards").code == 0
    options = ["--shards", tmp_path / "shards", "--new", new, *QUICK, "--epochs", 1, "--out", tmp_path / "out"]
    report = json.loads(di("di-extend", *options, "--json").stdout)
    assert report["class_names"] == [*(f"digit {number}" for number in range(10)), "bars", "dots"]
    assert dd.load(tmp_path / "out").class_names == tuple(report["class_names"])
    (tmp_path / "other/digit_3").mkdir(parents=True)
    (tmp_path / "other/digit_3/0.png").write_bytes((new / "bars/0.png").read_bytes())
    known = di("di-extend", *options[:2], "--new", tmp_path / "other", "--out", tmp_path / "none")
    assert known.code == 2
    assert "the class 'digit_3', which the teacher knows already" in known.stderr


@pytest.mark.parametrize("criterion", ["deepinversion", "lwf-mc", "abd"])
def test_every_criterion_trains(di: Callable, made_shards: Path, new: Path, tmp_path: Path, criterion: str) -> None:
    options = ["--shards", made_shards, "--new", new, *QUICK, "--criterion", criterion, "--epochs", 8]
    assert di("di-extend", *options, "--out", tmp_path / "x").code == 0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "x/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]
    assert load_model(str(tmp_path / "x")).num_classes == 12


def test_a_run_that_was_killed_goes_on(
    di: Callable, extended: Path, made_shards: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = trainer._save

    def save_and_stop(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        raise StoppedError("stopped")

    options = ["--shards", made_shards, "--new", new, *QUICK, "--out", tmp_path / "x"]
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_save", save_and_stop)
        assert di("di-extend", *options).code == 75
    assert (tmp_path / "x/checkpoint.pt").exists()
    assert not (tmp_path / "x/model.json").exists()
    done = di("di-extend", *options)
    assert "going on at epoch 2 of 6" in done.stderr
    assert sha256(tmp_path / "x") == sha256(extended)
    assert not (tmp_path / "x/checkpoint.pt").exists()


def test_what_is_done_is_not_done_again(
    di: Callable, extended: Path, made_shards: Path, new: Path, sets: Path, fails: Callable
) -> None:
    options = ["--shards", made_shards, "--new", new, *QUICK, "--out", extended]
    written = (extended / "model.safetensors").stat().st_mtime_ns
    assert di("di-extend", *options).code == 0
    measured = json.loads(di("di-extend", *options, "--eval", f"{sets}:everything", "--json").stdout)
    assert measured["top1_joint"] is not None
    assert (extended / "model.safetensors").stat().st_mtime_ns == written
    fails("di-extend", *options, "--lr", 0.1, code=2, says=["other settings", "lr"])
    fails("di-extend", *options, "--new", f"{sets}:few", code=2, says=["other new", "--overwrite"])


def test_a_dry_run_writes_nothing_and_reads_no_image_of_the_shards(
    di: Callable, made_shards: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardFolder, "samples", None)  # a folder of millions takes minutes to read
    options = ["--shards", made_shards, "--new", new, *QUICK, "--out", tmp_path / "x", "--dry-run", "--json"]
    plan = json.loads(di("di-extend", *options).stdout)
    assert plan["head"] == ["linear"]
    assert (plan["synthetic_in_a_batch"], plan["new_in_a_batch"]) == (16, 16)
    assert (plan["epochs"], plan["steps"]) == (6, 18)
    assert 0 < plan["seconds"] < 600
    assert not (tmp_path / "x").exists()


def test_the_python_function_does_the_same(extended: Path, made_shards: Path, new: Path, tmp_path: Path) -> None:
    options = {"flip": False, "batch_size": 32, "epochs": 6, "loader": "webdataset"}
    found = dd.extend(made_shards, new=new, out=tmp_path / "x", **options)
    assert found.sha256 == sha256(extended)
    assert found.report["classes_new"] == 2


def test_a_module_in_memory(new: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
    module = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(6, 3))
    teacher = dd.Classifier(module, mean=(0.5,), std=(0.5,), image_size=8)
    shards = dd.invert(teacher, out=tmp_path / "shards", images=20, steps=2)
    found = dd.extend(shards, new=new, out=tmp_path / "x", epochs=1, batch_size=16, flip=False)
    assert found.num_classes == 5
    assert teacher.num_classes == 3
    assert module[5].out_features == 3
