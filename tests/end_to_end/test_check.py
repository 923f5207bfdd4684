"""The teacher is examined and measured before any work, by di-invert with and without --check and by other stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import Di, Fails

NETWORKS = """\
import torch
from torch import nn

def seen():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    network.train()(torch.randn(16, 1, 8, 8))
    return network

def probabilities():
    return nn.Sequential(seen(), nn.Softmax(1))

def dead():
    network = seen()
    network[1].running_var.zero_()
    return network
"""
SMALL = [
    "--mean",
    0.5,
    "--std",
    0.5,
    "--image-size",
    8,
    "--images",
    16,
    "--batch-size",
    8,
    "--steps",
    2,
    "--workers",
    1,
]


@pytest.fixture
def networks(tmp_path: Path) -> str:
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return str(path)


def test_check_measures_the_teacher_and_writes_nothing(di: Di, tmp_path: Path) -> None:
    command = ["di-invert", "--teacher", "digits_cnn", "--out", tmp_path / "out", "--eval", "digits"]
    code, stdout, stderr = di(*command, "--check", "--json")
    found = json.loads(stdout)
    assert code == 0
    assert stderr == "teacher: top-1 96.67% of 450 images (digits)\n"
    assert (found["classes"], found["warnings"], round(found["teacher_top1"], 4)) == (10, [], 0.9667)
    assert -100 < found["lowest_logit"] < 0 < found["highest_logit"] < 100
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("check", [[], ["--check"], ["--dry-run"]])
def test_what_cannot_be_inverted_is_refused_before_the_work(
    fails: Fails, tmp_path: Path, networks: str, check: list[str]
) -> None:
    command = ["di-invert", "--teacher", f"{networks}:dead", *SMALL, "--out", tmp_path / "out", *check]
    fails(*command, code=2, says=["layer 1", "variance"])
    assert not (tmp_path / "out").exists()


def test_what_is_suspicious_is_said_before_and_in_the_report(di: Di, tmp_path: Path, networks: str) -> None:
    command = ["di-invert", "--teacher", f"{networks}:probabilities", *SMALL, "--out", tmp_path / "out"]
    code, stdout, stderr = di(*command, "--json")
    report = json.loads(stdout)
    assert code == 0, stderr
    assert stderr.startswith("warning: ")
    assert "probabilities" in stderr.splitlines()[0]
    assert "probabilities" in report["warnings"][0]
    assert report["verdict"].startswith("low: ")


@pytest.mark.parametrize("values", [("73", "90"), ("-0.1", "0.5"), ("0.5", "0"), ("0.5", "1.5")])
def test_mean_and_std_of_other_units_are_refused(fails: Fails, tmp_path: Path, values: tuple[str, str]) -> None:
    mean, std = values
    command = ["di-invert", "--teacher", "digits_cnn", f"--mean={mean}", f"--std={std}", "--out", tmp_path / "out"]
    fails(*command, code=2, says=["--mean", "--std", "0..1", "255"])


def test_the_teacher_is_measured_first_and_chance_is_named(di: Di, tmp_path: Path, shards: Path) -> None:
    code, _, stderr = di("di-distill", "--shards", shards, "--out", tmp_path / "a", "--epochs", 1, "--eval", "digits")
    assert code == 0
    assert stderr.splitlines()[0] == "teacher: top-1 96.67% of 450 images (digits)"

    wrong = ["--mean", 0.9, "--std", 0.01]  # the images are all dark to the network
    code, _, stderr = di("di-invert", "--teacher", "digits_cnn", *wrong, "--check", "--eval", "digits")
    assert code == 0
    assert "no better than chance" in stderr


def test_show_says_what_the_agreement_means(di: Di, shards: Path) -> None:
    code, stdout, _ = di("di-shards", "show", shards, "--json")
    found = json.loads(stdout)
    assert code == 0
    assert found["agreement"] < 0.8  # three steps are too few
    assert found["verdict"].startswith("low: the class loss was still")
