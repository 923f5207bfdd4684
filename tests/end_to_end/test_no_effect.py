"""Settings that were given and change nothing in this run are named, on stderr; those with an effect are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Di

INVERT = ["di-invert", "--teacher", "digits_cnn", "--images", 4]
STORED = ["--labels", "stored"]


def warnings(di: Di, *arguments: object) -> set[str]:
    code, _, stderr = di(*arguments, "--dry-run")
    assert code == 0, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("warning: --")]
    assert all(" has no effect: " in line for line in lines)
    return {line.split()[1] for line in lines}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--parametrization", "pixels", "--falloff", 2], {"--falloff"}),
        (["--falloff", 2], set()),
        (["--jitter", 0, "--shift", "batch"], {"--shift"}),
        (["--alpha-feature", 0, "--alpha-class", 1, "--statistics", "absolute", "--first-bn", 2],
         {"--statistics", "--first-bn"}),
        (["--compete-temperature", 2], {"--compete-temperature"}),
        (["--steps", 0, "--lr", 0.1, "--alpha-tv", 1, "--no-flip", "--clip"], {"--lr", "--alpha-tv", "--clip"}),
        (["--recipe", "noise"], set()),
    ],
)  # fmt: skip
def test_of_di_invert(di: Di, tmp_path: Path, options: list[object], named: set[str]) -> None:
    assert warnings(di, *INVERT, "--out", tmp_path / "s", *options) == named


@pytest.mark.parametrize("command", ["di-distill", "di-prune"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([*STORED, "--dead-leaves", 0.5, "--feature-weight", 7, "--min-area", 0.3],
         {"--dead-leaves", "--feature-weight", "--min-area"}),
        ([*STORED, "--dead-leaves", 0, "--feature-weight", 0], set()),
        (["--dead-leaves", 0.5, "--feature-weight", 7, "--min-area", 0.3], set()),
        (["--mixup", 0, "--shape-cutmix", 0.3], {"--shape-cutmix"}),
        (["--crop", "none", "--min-area", 0.3], {"--min-area"}),
        (["--epochs", 0, "--lr", 0.3], {"--lr"}),
    ],
)  # fmt: skip
def test_of_a_training(
    di: Di, made_shards: Path, tmp_path: Path, command: str, options: list[object], named: set[str]
) -> None:
    assert warnings(di, command, "--shards", made_shards, "--out", tmp_path / "o", *options) == named


def test_of_least_squares_alone(di: Di, made_shards: Path, tmp_path: Path) -> None:
    options = ["--repair", "ls", "--epochs", 3, "--lr", 0.1, "--batch-size", 16]
    found = warnings(di, "di-prune", "--shards", made_shards, "--out", tmp_path / "o", *options)
    assert found == {"--epochs", "--lr"}


def test_a_run_names_them_too(di: Di, made_shards: Path, tmp_path: Path) -> None:
    options = [*STORED, "--dead-leaves", 0.5, "--epochs", 1, "--batch-size", 20, "--out", tmp_path / "o"]
    for command in ("di-distill", "di-prune"):
        code, _, stderr = di(command, "--shards", made_shards, *options, "--overwrite")
        assert code == 0, stderr
        line = "warning: --dead-leaves has no effect: the stored logits are the labels, for whole images"
        assert stderr.splitlines().count(line) == 1
