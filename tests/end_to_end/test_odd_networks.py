"""Networks of users that work in an unusual way, through the stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.shared.models.classifier import load_model

NETWORKS = '''
import torch
from torch import nn

def body(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

def tail():
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]

class View(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.classifier = nn.Sequential(*body(3, 16)), nn.Linear(16 * 64, 10)

    def forward(self, x):
        y = self.features(x)
        return self.classifier(y.view(y.size(0), -1))

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        block = nn.Sequential(*body(16, 16))
        self.stem, self.tail = nn.Sequential(*body(3, 16)), nn.Sequential(*tail())
        self.blocks = nn.ModuleList([block, block])

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)

class Heads(nn.Module):
    """A second head in training alone."""
    def __init__(self):
        super().__init__()
        self.body, self.tail, self.aux = nn.Sequential(*body(3, 16)), nn.Sequential(*tail()), nn.Sequential(*tail())

    def forward(self, x):
        x = self.body(x)
        return (self.tail(x), self.aux(x)) if self.training else self.tail(x)

class Remembers(nn.Module):
    """Keeps in its state what no file of weights holds."""
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(*body(3, 16), *tail())

    def forward(self, x):
        return self.network(x)

    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass

def plain():
    return nn.Sequential(*body(3, 16), *tail())

def weight_normed():
    network = plain()
    network[0] = nn.utils.parametrizations.weight_norm(network[0])
    return network

def no_batchnorm():
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *tail())
'''
SMALL = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--image-size", 8, "--workers", 1]
MADE = ["--images", 16, "--batch-size", 8, "--steps", 2]
TRAINED = ["--epochs", 1, "--batch-size", 8, "--loader", "webdataset"]


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return path


@pytest.fixture
def made(tmp_path: Path, networks: Path, di: Callable[..., object]) -> Callable[[str], Path]:
    """``made("plain")`` is a shard folder of that network, with random weights."""

    def make(name: str) -> Path:
        teacher = ["--teacher", f"{networks}:{name}", "--weights", "none"]
        result = di("di-invert", *teacher, *SMALL, *MADE, "--out", tmp_path / "shards")
        assert result.code == 0, result.stderr  # type: ignore[attr-defined]
        return tmp_path / "shards"

    return make


@pytest.mark.parametrize("name", ["View", "Twice"])
def test_a_network_goes_through_all_stages(
    name: str, made: Callable[[str], Path], di: Callable[..., object], tmp_path: Path
) -> None:
    shards = made(name)
    for command in ("di-distill", "di-prune"):
        result = di(command, "--shards", shards, *TRAINED, "--out", tmp_path / command)
        assert result.code == 0, result.stderr  # type: ignore[attr-defined]
        network = load_model(str(tmp_path / command)).network
        if name == "Twice":
            assert network.get_parameter("blocks.0.0.weight") is network.get_parameter("blocks.1.0.weight")


@pytest.mark.parametrize(("name", "words"), [("Heads", "training mode"), ("Remembers", "cannot be saved")])
def test_what_cannot_be_trained_or_saved_is_found_before_the_training(
    name: str, words: str, made: Callable[[str], Path], fails: Callable[..., str], networks: Path, tmp_path: Path
) -> None:
    shards = made("plain")
    student = ["--student", f"{networks}:{name}"]
    fails("di-distill", "--shards", shards, *student, *TRAINED, "--out", tmp_path / "d", code=2, says=[words])
    assert not (tmp_path / "d").exists()


def test_a_network_that_cannot_be_pruned_is_refused_before_the_work(
    made: Callable[[str], Path], fails: Callable[..., str], tmp_path: Path
) -> None:
    shards = made("weight_normed")
    for dry_run in ([], ["--dry-run"]):
        options = ["--shards", shards, *TRAINED, *dry_run, "--out", tmp_path / "p"]
        fails("di-prune", *options, code=2, says=["cannot be pruned", "di-distill"])
    assert not (tmp_path / "p").exists()


def test_a_network_without_batchnorm_needs_no_option(
    di: Callable[..., object], fails: Callable[..., str], networks: Path, tmp_path: Path
) -> None:
    teacher = ["--teacher", f"{networks}:no_batchnorm", "--weights", "none", *SMALL, *MADE]
    result = di("di-invert", *teacher, "--out", tmp_path / "shards", "--json")
    assert result.code == 0, result.stderr  # type: ignore[attr-defined]
    assert "no BatchNorm layer with running statistics" in result.stderr  # type: ignore[attr-defined]
    assert json.loads(result.stdout)["images"] == 16  # type: ignore[attr-defined]
    # What was asked for is not left out.
    fails("di-invert", *teacher, "--alpha-feature", 1, "--out", tmp_path / "s", code=2, says=["no BatchNorm layer"])
