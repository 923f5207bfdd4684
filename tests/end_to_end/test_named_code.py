"""Data names no code: a Python file that a manifest or a saved model names is run only if the user has named it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import Di, Fails

import dreamdistill as dd
from dreamdistill.shared.core.places import MODEL_JSON
from dreamdistill.shared.core.records import write_record_file
from dreamdistill.shared.models import named_files
from dreamdistill.shared.models.checkpoints import MODEL_SCHEMA, read_model_record, save_model
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.manifest import load_manifest

EVIL = """
import pathlib
from dreamdistill.shared.models.classifier import load_model

pathlib.Path(__file__).with_name("marker").write_text("I was run")

def net():
    return load_model("digits_cnn").network
"""
MINE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    trained = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                            nn.Flatten(), nn.Linear(16, 3))
    trained[1].running_mean += 0.1
    return trained

net.pretrained_cfg = {"mean": (0.5,), "std": (0.5,), "input_size": (1, 8, 8)}
"""
MADE = ["--images", 8, "--shard-size", 4, "--steps", 1, "--recipe", "cifar10-deepinversion", "--workers", 1]
NEVER = "has not run for you before"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has named nothing yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    forget(monkeypatch)
    return tmp_path / "state"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes now is another command of the same user: only the state folder is left."""
    monkeypatch.setattr(named_files, "_named", set())


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    path = tmp_path / "evil.py"
    path.write_text(EVIL)
    return path


@pytest.fixture
def hostile(shards: Path, evil: Path) -> Path:
    """Shards whose manifest names a stranger's file."""
    manifest = load_manifest(shards)
    replace(manifest, teacher=replace(manifest.teacher, name=f"{evil}:net")).save(shards)
    return shards


def saved_model(folder: Path, architecture: str) -> Path:
    """A saved model, as its record stands after a stranger has changed the architecture in it."""
    teacher = load_model("digits_cnn")
    save_model(
        folder,
        teacher.network,
        architecture="digits_cnn",
        num_classes=10,
        class_names=(),
        preprocessing=teacher.preprocessing,
    )
    write_record_file(
        folder / MODEL_JSON, replace(read_model_record(folder), architecture=architecture), schema=MODEL_SCHEMA
    )
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "net.py").write_text(MINE)
    return folder / "net.py"


@pytest.fixture
def my_shards(di: Di, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards of the user's own network; what comes then is another command."""
    result = di("di-invert", "--teacher", f"{mine}:net", *MADE, "--out", tmp_path / "mine")
    assert result[0] == 0, result[2]
    forget(monkeypatch)
    return tmp_path / "mine"


# A stranger's folder


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry"])
def test_shards_that_name_a_strangers_file(
    di: Di, fails: Fails, hostile: Path, evil: Path, tmp_path: Path, dry: list[str]
) -> None:
    out = tmp_path / "out"
    says = [str(evil), NEVER, f"pass --code {evil}"]
    fails("di-prune", "--shards", hostile, "--out", out, *dry, code=2, says=says)
    code, stdout, stderr = di("di-distill", "--shards", hostile, "--out", out, *dry)
    assert (code, stdout) == (2, "")
    assert all(word in line for line in stderr.splitlines() for word in says), stderr
    fails("di-shards", "score", hostile, code=2, says=says)
    assert not (tmp_path / "marker").exists()
    assert not out.exists()


def test_another_student_learns_from_the_stored_logits_of_such_shards(
    di: Di, hostile: Path, evil: Path, tmp_path: Path
) -> None:
    command = ["di-distill", "--shards", hostile, "--student", "digits_cnn_small", "--out", tmp_path / "out"]
    code, _, stderr = di(*command, "--epochs", 1)
    assert code == 0, stderr
    assert NEVER in stderr
    assert not (tmp_path / "marker").exists()


def test_the_python_api_with_such_shards(hostile: Path, tmp_path: Path) -> None:
    for stage in (dd.distill, dd.prune):
        with pytest.raises(dd.ConfigError, match=NEVER):
            stage(hostile, out=tmp_path / "out")
    assert not (tmp_path / "marker").exists()


def test_saved_models_that_name_a_strangers_file(
    fails: Fails, di: Di, made_shards: Path, evil: Path, tmp_path: Path
) -> None:
    model = saved_model(tmp_path / "model", f"{evil}:net")
    out = tmp_path / "out"
    given, invert = ["--shards", made_shards, "--out", out], ["--images", 4, "--workers", 1, "--out", out]
    for command in (
        ["di-invert", "--teacher", model, *invert],
        ["di-invert", "--teacher", "digits_cnn", "--compete-with", model, *invert],
        ["di-distill", "--teacher", model, *given],
        ["di-distill", "--init", model, *given],
        ["di-distill", "--student", model, *given],
        ["di-prune", "--teacher", model, *given],
        ["di-shards", "score", made_shards, "--verifier", model],
    ):
        fails(*command, code=2, says=[str(model / MODEL_JSON), str(evil), NEVER, "--code"])
    with pytest.raises(dd.ConfigError, match=NEVER):
        dd.load(model)
    assert not (tmp_path / "marker").exists()
    assert not out.exists()
    assert dd.load(model, code=evil).num_classes == 10  # the user trusts it
    assert (tmp_path / "marker").exists()


def test_a_copy_of_my_file_elsewhere_is_not_my_file(di: Di, my_shards: Path, mine: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copy(mine, tmp_path / "net.py"))  # beside which a stranger may put what it imports
    manifest = load_manifest(my_shards)
    replace(manifest, teacher=replace(manifest.teacher, name=f"{copied}:net")).save(my_shards)
    code, _, stderr = di("di-prune", "--shards", my_shards, "--dry-run")
    assert code == 2
    assert NEVER in stderr


# The user's own network


def test_my_own_network_needs_no_option(di: Di, my_shards: Path, mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    result = di("di-distill", "--shards", my_shards, "--epochs", 1, "--out", out)
    assert result[0] == 0, result[2]
    assert "does not load" not in result[2]
    assert di("di-prune", "--shards", my_shards, "--dry-run")[0] == 0
    assert di("di-shards", "score", my_shards)[0] == 0

    moved = Path(shutil.move(mine, tmp_path / "other.py"))
    with pytest.raises(dd.ConfigError, match=r"net.py', and there is no such file: .* pass --code"):
        dd.load(out)
    assert dd.load(out, code=[moved]).architecture == f"{moved}:net"
    code, _, stderr = di("di-prune", "--shards", my_shards, "--dry-run")
    assert code == 2
    assert "--code" in stderr
    assert di("di-prune", "--shards", my_shards, "--dry-run", "--code", moved)[0] == 0
    again = ["di-invert", "--teacher", out, "--code", moved, *MADE, "--workers", 2, "--out", tmp_path / "again"]
    result = di(*again)  # two workers are told where the file is
    assert result[0] == 0, result[2]


def test_the_workers_know_what_the_user_has_named_without_the_state_folder(
    di: Di, fails: Fails, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")  # cannot be written, as the home on another machine may be
    out = tmp_path / "s"
    result = di("di-invert", "--teacher", f"{mine}:net", *MADE, "--workers", 2, "--out", out)
    assert result[0] == 0, result[2]
    forget(monkeypatch)
    fails("di-prune", "--shards", out, "--dry-run", code=2, says=[NEVER])


def test_my_file_has_been_edited(
    di: Di, fails: Fails, my_shards: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = ["di-prune", "--shards", my_shards, "--dry-run"]
    mine.write_text(MINE + "\n# a remark\n")
    fails(*prune, code=2, says=["has changed since you named it", f"--code {mine}"])
    assert di(*prune, "--code", mine)[0] == 0
    forget(monkeypatch)
    assert di(*prune)[0] == 0  # named once is enough

    mine.write_text(MINE.replace("nn.ReLU()", "nn.LeakyReLU(0.01)"))
    other = ["same weights", "computes something else"]
    fails(*prune, "--code", mine, code=2, says=other)
    fails("di-shards", "score", my_shards, "--code", mine, code=2, says=other)
    command = ["di-invert", "--teacher", f"{mine}:net", *MADE, "--out", my_shards]
    fails(*command, code=2, says=[*other, str(my_shards)])
    fails(*command, "--append", "--seed", 1, code=2, says=other)
    code, _, stderr = di("di-distill", "--shards", my_shards, "--dry-run")
    assert code == 0
    assert other[1] in stderr
