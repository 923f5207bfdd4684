"""Optimisations that diverge: new seeds, shards that are given up, and a student's training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from dreamdistill.invert.engine import Engine, Synthesis, batch_seed

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]

INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]
posix = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def whole_shards(folder: Path) -> int:
    return len(list(folder.glob("[0-9]*.json")))


def test_divergence_of_every_shard(di: Di, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *INVERT, "--images", 4, "--steps", 3, "--out", out]
    stderr = fails(*command, "--lr", 1e30, code=1, says=["1 of 1 shards failed", "NaN 3 times", "lower --lr"])
    tries = [line for line in stderr.splitlines() if line.startswith("shard 000000, batch 0: ")]
    assert len(tries) == 3
    assert all("starting it again with a new seed" in line for line in tries[:2])
    assert "giving the shard up" in tries[2]
    assert whole_shards(out) == 0
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
        engine = Engine(self.teacher, self.recipe.changed({"lr": 1e30})) if seed in bad else self
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
