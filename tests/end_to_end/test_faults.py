"""What goes wrong while the work is under way: damaged files, traces of crashes, NaN."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers import Di, Fails, complete_shards, contents, temporaries
from torch import Tensor

from dreamdistill.invert.engine import Engine, Synthesis, batch_seed

INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]


# Damaged shards


def test_truncated_tar(fails: Fails, shards: Path, tmp_path: Path) -> None:
    tar = shards / "000001.tar"
    size = tar.stat().st_size
    os.truncate(tar, size // 2 // 512 * 512)  # at the end of a member's block, where tar readers stop without an error

    says = [str(tar), str(size), "bytes long"]
    for name in ("di-distill", "di-prune"):
        fails(name, "--shards", shards, "--out", tmp_path / "out", code=1, says=[*says, "000001.json"])
        assert not (tmp_path / "out").exists()
    for name in ("show", "gallery"):
        fails("di-shards", name, shards, code=1, says=[*says, "000001.json", "di-invert"])
    fails("di-shards", "verify", shards, code=1, says=["1 problem in", *says])


def test_following_the_advice_of_the_error_repairs_the_shard(
    di: Di, shards: Path, made_shards: Path, as_made: list[object]
) -> None:
    os.truncate(shards / "000001.tar", 512)
    (shards / "000001.json").unlink()
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert di("di-shards", "verify", shards)[0] == 0


def test_missing_tar(fails: Fails, shards: Path, tmp_path: Path) -> None:
    (shards / "000000.tar").unlink()
    fails("di-distill", "--shards", shards, "--out", tmp_path / "out", code=1, says=["000000.tar", "is missing"])
    fails("di-shards", "verify", shards, code=1, says=["000000.tar", "is missing"])
    assert not (tmp_path / "out").exists()


def test_one_flipped_byte(di: Di, fails: Fails, shards: Path) -> None:
    tar = shards / "000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    fails("di-shards", "verify", shards, code=1, says=["1 problem in", str(tar), "sha256"])
    assert di("di-shards", "show", shards)[0] == 0


@pytest.mark.parametrize("name", ["manifest.json", "000000.json"])
def test_damaged_json(fails: Fails, shards: Path, tmp_path: Path, name: str) -> None:
    (shards / name).write_bytes((shards / name).read_bytes()[:40])
    for command in (["di-distill", "--shards", shards, "--out", tmp_path / "out"], ["di-shards", "verify", shards]):
        fails(*command, code=1, says=[str(shards / name), "damaged", "again"])
    assert not (tmp_path / "out").exists()


# Files that crashes of machines and file systems leave


def test_a_record_without_its_tar_and_a_tar_without_its_record(
    di: Di, shards: Path, made_shards: Path, as_made: list[object]
) -> None:
    (shards / "000000.tar").unlink()
    (shards / "000001.json").unlink()
    code, _, stderr = di("di-invert", *as_made, "--out", shards)
    assert code == 0, stderr
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert di("di-shards", "verify", shards)[0] == 0


def test_temporary_files_of_dead_processes_are_deleted(di: Di, shards: Path, as_made: list[object]) -> None:
    (shards / "000001.json").unlink()
    dead = subprocess.Popen(["true"])
    dead.wait()
    writers = f"{os.uname().nodename}.{dead.pid}", "node7.123", "node8.123"
    ours, other, old = (shards / f".000001.tar.0123abcd.{writer}.tmp" for writer in writers)
    for path in (ours, other, old):
        path.write_bytes(b"half a shard")
    day_before = shards.stat().st_mtime - 25 * 3600
    os.utime(old, (day_before, day_before))
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert temporaries(shards) == [other.name]  # node7 may still be writing it


def test_a_clock_that_jumps_back(di: Di, shards: Path, made_shards: Path, as_made: list[object]) -> None:
    (shards / "000001.json").unlink()
    live = shards / ".000001.tar.0123abcd.node7.123.tmp"
    live.write_bytes(b"half a shard")
    for path in (shards, *shards.iterdir()):  # as if written a year from now
        in_a_year = path.stat().st_mtime + 365 * 86400
        os.utime(path, (in_a_year, in_a_year))
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert live.exists()
    live.unlink()
    code, stdout, stderr = di("di-shards", "show", shards, "--watch", "--json")
    assert code == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["shards"] == 2


@pytest.mark.parametrize("years", [-50, 1])
def test_a_clock_that_jumps_while_there_is_a_checkpoint(di: Di, made_shards: Path, tmp_path: Path, years: int) -> None:
    command = ["di-distill", "--shards", made_shards, "--epochs", 3]
    assert di(*command, "--out", tmp_path / "undisturbed")[0] == 0
    out = tmp_path / "out"
    (out / "model.safetensors").mkdir(parents=True)  # so that it fails when it saves the model
    assert di(*command, "--out", out)[0] == 1
    (out / "model.safetensors").rmdir()
    for path in (out, *out.iterdir()):
        then = path.stat().st_mtime + years * 365 * 86400
        os.utime(path, (then, then))
    code, _, stderr = di(*command, "--out", out)
    assert code == 0, stderr
    weights = [(folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "undisturbed")]
    assert weights[0] == weights[1]
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in (tmp_path / "undisturbed").iterdir())


# NaN


def test_divergence_of_every_shard(di: Di, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *INVERT, "--images", 4, "--steps", 3, "--out", out]
    stderr = fails(
        *command, "--lr", 1e30, "--no-clip", code=1, says=["1 of 1 shards failed", "NaN 3 times", "lower --lr"]
    )
    tries = [line for line in stderr.splitlines() if line.startswith("shard 000000, batch 0: ")]
    assert len(tries) == 3
    assert all("starting it again with a new seed" in line for line in tries[:2])
    assert "giving the shard up" in tries[2]
    assert complete_shards(out) == 0
    assert not contents(out, "*.tar")
    assert not temporaries(out)

    code, _, stderr = di(*command, "--lr", 0.1)  # as the error advises; the folder holds nothing to protect
    assert code == 0, stderr
    assert di("di-shards", "verify", out)[0] == 0


def diverging(monkeypatch: pytest.MonkeyPatch, *, shard: int, attempts: int) -> None:
    """Make the first attempts at one shard diverge: a huge learning rate, for their seeds only."""
    bad = {batch_seed(seed=0, round=0, shard=shard, batch=0, attempt=attempt) for attempt in range(attempts)}
    synthesize = Engine.synthesize

    def patched(self: Engine, targets_N: Tensor, *, seed: int, **options: object) -> Synthesis:
        engine = Engine(self.teacher, self.recipe.changed({"lr": 1e30, "clip": False})) if seed in bad else self
        return synthesize(engine, targets_N, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "synthesize", patched)


def test_divergence_of_one_shard(di: Di, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *INVERT, "--images", 12, "--steps", 3, "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        diverging(patch, shard=1, attempts=3)
        says = ["1 of 3 shards failed", "shard 000001", "NaN 3 times"]
        assert fails(*command, code=3, says=says).count("shard 000001, batch 0: ") == 3
    assert sorted(contents(out, "*.tar")) == ["000000.tar", "000002.tar"]
    assert json.loads((out / "_info.json").read_text())["splits"]["train"]["num_samples"] == 8
    assert di("di-shards", "show", out)[0] == 0
    fails("di-shards", "verify", out, code=1, says=["000001 has not been made"])

    assert di(*command)[0] == 0
    assert di("di-shards", "verify", out)[0] == 0


def test_divergence_with_one_seed_only(di: Di, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    diverging(monkeypatch, shard=1, attempts=1)
    code, _, stderr = di("di-invert", *INVERT, "--images", 8, "--steps", 3, "--out", out)
    assert code == 0
    assert "shard 000001, batch 0: " in stderr
    assert "starting it again with a new seed (1 of 3 tries)" in stderr
    seeds = [json.loads((out / f"{number:06d}.json").read_text())["seed"] for number in (0, 1)]
    assert seeds == [
        batch_seed(seed=0, round=0, shard=0, batch=0, attempt=0),
        batch_seed(seed=0, round=0, shard=1, batch=0, attempt=1),
    ]


def test_divergence_of_the_student(fails: Fails, made_shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-distill", "--shards", made_shards, "--epochs", 2, "--batch-size", 8, "--out", out]
    fails(*command, "--lr", 1e38, "--warmup-epochs", 0, code=1, says=["NaN", "--overwrite", "lower --lr"])
    assert not (out / "model.json").exists()
