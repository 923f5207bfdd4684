"""Names and options that cannot be: exit code 2, one sentence that says what to do, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Fails

TINY = ["--images", 4, "--shard-size", 4, "--steps", 2, "--workers", 1]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("option", "name", "meant"),
    [
        ("--teacher", "resnet5O", "'resnet50'"),
        ("--teacher", "digit_cnn", "'digits_cnn'"),
        ("--recipe", "cifar10-deepinversio", "'cifar10-deepinversion'"),
        ("--format", "jpgg", "'jpg'"),
    ],
)
def test_unknown_name(fails: Fails, out: Path, option: str, name: str, meant: str) -> None:
    teacher = [] if option == "--teacher" else ["--teacher", "digits_cnn"]
    fails("di-invert", *teacher, option, name, *TINY, "--out", out, code=2, says=[repr(name), meant])
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--images", 0], ["--images", "1 or more"]),
        (["--steps", -1], ["--steps", "0 or more"]),
        (["--steps", "many"], ["--steps", "whole number", "'many'"]),
        (["--classes", "3,12"], ["--classes", "0..9"]),
        (["--std", 0], ["--std", "above 0"]),
        (["--mean", "0.5,0.5"], ["--mean", "--std"]),
        (["--device", "cuda:99"], ["cuda:99", "--device auto"]),
        (["--alpha-compete", 1], ["--alpha-compete", "--compete-with"]),
        (["--append", "--overwrite"], ["--append", "--overwrite"]),
        (["--workers", 0], ["--workers", "1 or more"]),
        (["--engine", "rai"], ["--engine", "'ray'"]),
        (["--address", "auto"], ["--address", "--engine ray"]),
        (["--engine", "ray", "--workers", 2], ["--workers", "Ray"]),
        (["--rank", 1], ["--rank and --world go together"]),
        (["--rank", 3, "--world", 3], ["--rank", "0..2"]),
        (["--grace", -1], ["--grace", "0 or more"]),
    ],
)
def test_impossible_inversion(fails: Fails, out: Path, options: list[object], says: list[str]) -> None:
    fails("di-invert", "--teacher", "digits_cnn", *TINY, *options, "--out", out, code=2, says=says)
    assert not out.exists()


@pytest.mark.parametrize("name", ["di-invert", "di-distill", "di-prune", "di-extend"])
def test_option_in_the_place_of_a_value(fails: Fails, name: str) -> None:
    """Else it would be the name of the folder, and what was to be a dry run would run."""
    fails(name, "--out", "--dry-run", code=2, says=["--out needs a value", "--dry-run is an option"])
    lists = ["--code", "a.py", "--code", "--dry-run"]
    fails(name, *lists, code=2, says=["--code needs a value", "--dry-run is an option"])
    assert not Path("--dry-run").exists()


def test_no_teacher(fails: Fails, out: Path) -> None:
    fails("di-invert", "--out", out, code=2, says=["--teacher is required"])
    assert not out.exists()


@pytest.mark.parametrize("ratio", [1.2, 1, 0, -0.3])
def test_pruning_ratio(fails: Fails, made_shards: Path, out: Path, ratio: float) -> None:
    fails("di-prune", "--shards", made_shards, "--ratio", ratio, "--out", out, code=2, says=["--ratio", str(ratio)])
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stpes: 2", ["'stpes'", "options.yaml", "did you mean 'steps'"]),
        ("alpha-featur: 2", ["alpha", "did you mean 'alpha_feature'"]),
        ("steps: [1, x]", ["--steps", "whole number"]),
        ("steps: {", ["options.yaml", "not valid YAML"]),
        ("just words", ["options.yaml", "option: value"]),
        ("images: 4\nimages: 5", ["options.yaml", "'images'", "a second time"]),
        ("shard-size: 4\nshard_size: 5", ["options.yaml", "shard-size", "twice"]),
        ("images: !!python/object/apply:os.system ['touch x']", ["options.yaml", "tag"]),
        ("seed: 1" + "0" * 300, ["--seed", "whole number"]),
        ("recipe: [&a [x], &b [*a, *a], &c [*b, *b]]", ["--recipe", "a list"]),
        ('recipe: "[/] \\e[31m\\nerror: x"', ["there is no recipe", "[/] \\x1b[31m\\nerror: x"]),
        ('recipe: "a\\0b"', ["--recipe"]),
    ],
)
def test_config_file(fails: Fails, tmp_path: Path, out: Path, text: str, says: list[str]) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text)
    fails("di-invert", "--teacher", "digits_cnn", "--config", file, "--out", out, code=2, says=says)
    assert not out.exists()


def test_missing_config_file(fails: Fails, tmp_path: Path, out: Path) -> None:
    missing = tmp_path / "options.yaml"
    fails("di-invert", "--teacher", "digits_cnn", "--config", missing, "--out", out, code=2, says=[str(missing)])
    assert not out.exists()


STAGE = "{stage: invert, teacher: digits_cnn, images: 4, steps: 2}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"sede: 1\nstages:\n  synthetic: {STAGE}", ["'sede'", "pipeline.yaml", "did you mean 'seed'"]),
        (f"stages:\n  synthetic: {STAGE[:-1]}, stpes: 2}}", ["'stpes'", "'synthetic'", "did you mean 'steps'"]),
        ("stages:\n  synthetic: {stage: invrt}", ["'synthetic'", "invert, distill, prune"]),
        (f"stags:\n  synthetic: {STAGE}", ["pipeline.yaml", "'stages:'"]),
        (f"stages:\n  ../up: {STAGE}", ["'../up'", "another name"]),
        (f"stages:\n  /tmp/x: {STAGE}", ["'/tmp/x'", "another name"]),
        (f'stages:\n  "[/]\\e[2J": {STAGE}', ["another name", "letters"]),
        ("stages:\n  a: {stage: invert, teacher: [x]}", ["--teacher", "a list"]),
        ("stages: {a: {stage: adapt, rounds: 1000000000, invert: {teacher: x}, distill: {}}}", ["1000 stages"]),
        (f"latency_batch: many\nstages:\n  synthetic: {STAGE}", ["latency", "whole number", "'many'"]),
    ],
)
def test_pipeline_file(fails: Fails, tmp_path: Path, out: Path, text: str, says: list[str]) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    fails("di-run", file, "--out", out, code=2, says=says)
    assert not out.exists()


def test_unknown_pipeline(fails: Fails) -> None:
    fails("di-run", "quickstrat", code=2, says=["'quickstrat'", "did you mean 'quickstart'"])
