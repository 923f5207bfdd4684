"""Result folders that are damaged, or were prepared by somebody else: one sentence, no wait, no code that is run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import BIN, PATIENCE, Di, Fails, posix

COMMAND = ["--epochs", 2, "--loader", "webdataset"]
HUGE = 10**12  # bytes, of a file with a hole


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, made_shards: Path) -> Path:
    """A run of di-distill that has a checkpoint of its last epoch, and no model."""
    out = tmp_path_factory.mktemp("trained") / "out"
    (out / "model.safetensors").mkdir(parents=True)  # so that it fails when it saves the model
    command = [str(BIN / "di-distill"), "--shards", *map(str, (made_shards, *COMMAND, "--out", out))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "model.safetensors is a folder" in done.stderr
    (out / "model.safetensors").rmdir()
    return out


@pytest.fixture
def unfinished(interrupted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(interrupted, tmp_path / "out")


@pytest.fixture
def finished(di: Di, unfinished: Path, made_shards: Path) -> Path:
    code, _, stderr = di("di-distill", "--shards", made_shards, *COMMAND, "--out", unfinished)
    assert code == 0, stderr
    assert "epochs" not in stderr.replace("2/2 epochs", "")  # it has learned nothing more
    assert not (unfinished / "checkpoint.pt").exists()
    return unfinished


def damage(path: Path, how: str) -> None:
    data = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    match how:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "huge":
            path.touch()
            os.truncate(path, HUGE)
        case "cut":
            path.write_bytes(data[: 2 * len(data) // 3])
        case "no text":
            path.write_bytes(b"\xff\x00\xfe" * 100)
        case "deep":
            path.write_bytes(b"[" * 10**6)
        case "other types":
            path.write_text('{"student_top1": "1", "seconds": [], "epoch": 1e999}\n')


HOW = ["folder", "pipe", "huge", "cut", "no text", "deep", "other types"]


@posix
@pytest.mark.parametrize("how", HOW)
def test_report(fails: Fails, finished: Path, made_shards: Path, how: str) -> None:
    damage(finished / "report.json", how)
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", finished]
    fails(*command, code=1, says=[f"{finished / 'report.json'} is damaged", "--overwrite"])


@posix
@pytest.mark.parametrize("how", HOW)
def test_configuration(fails: Fails, finished: Path, made_shards: Path, how: str) -> None:
    path = finished / "config.yaml"
    damage(path, how)
    if how == "cut":
        path.write_text("identity: 01234")
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", finished]
    fails(*command, code=2, says=["--overwrite deletes", "another --out leaves it alone"])


@posix
@pytest.mark.parametrize("how", HOW)
def test_metrics(di: Di, fails: Fails, finished: Path, made_shards: Path, how: str) -> None:
    (finished / "report.json").unlink()
    damage(finished / "metrics.jsonl", how)
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", finished]
    fails(*command, code=1, says=[f"{finished / 'metrics.jsonl'} is damaged", "delete it"])
    if how == "folder":
        (finished / "metrics.jsonl").rmdir()
    else:
        (finished / "metrics.jsonl").unlink()
    code, stdout, stderr = di(*command, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["seconds"] == 0


@posix
@pytest.mark.parametrize("name", ["config.yaml", "report.json", "checkpoint.pt", "model.safetensors"])
def test_overwriting_what_is_a_folder(fails: Fails, finished: Path, made_shards: Path, name: str) -> None:
    damage(finished / name, "folder")
    (finished / name / "notes.txt").write_text("the user's own")
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", finished, "--overwrite"]
    fails(*command, code=1, says=[f"{finished / name} is a folder", "move"])
    assert (finished / name / "notes.txt").exists()


# Checkpoints


@posix
@pytest.mark.parametrize("how", HOW)
def test_damaged_checkpoint(fails: Fails, unfinished: Path, made_shards: Path, how: str) -> None:
    damage(unfinished / "checkpoint.pt", how)
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", unfinished]
    fails(*command, code=1, says=[f"{unfinished / 'checkpoint.pt'} is damaged", "--overwrite"])


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def vouched(content: bytes, folder: Path) -> bytes:
    """A checkpoint with any content, whose checksum and identity fit."""
    identity = (folder / "config.yaml").read_text().splitlines()[0].removeprefix("identity: ")
    return content + f"\ncheckpoint {identity} {hashlib.sha256(content).hexdigest()}\n".encode()


def test_a_checkpoint_that_somebody_made_runs_no_code(
    fails: Fails, unfinished: Path, made_shards: Path, tmp_path: Path
) -> None:
    executed = tmp_path / "executed"
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", unfinished]
    for content in ({"history": Evil(executed)}, {"network": {}, "history": []}, [1, 2], {"history": [{"epoch": 1}]}):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        (unfinished / "checkpoint.pt").write_bytes(vouched(buffer.getvalue(), unfinished))
        fails(*command, code=1, says=[f"{unfinished / 'checkpoint.pt'} is damaged"])
    assert not executed.exists()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9])
def test_one_flipped_bit_of_a_checkpoint(fails: Fails, unfinished: Path, made_shards: Path, place: float) -> None:
    path = unfinished / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--out", unfinished]
    fails(*command, code=1, says=[f"{path} is damaged"])


def test_a_checkpoint_of_other_settings(fails: Fails, unfinished: Path, made_shards: Path) -> None:
    (unfinished / "config.yaml").unlink()
    command = ["di-distill", "--shards", made_shards, *COMMAND, "--lr", 0.01, "--out", unfinished]
    fails(*command, code=1, says=[f"{unfinished / 'checkpoint.pt'} is of a run with other settings", "delete it"])
