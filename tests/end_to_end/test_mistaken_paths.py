"""A folder or file that is named in place of another is called what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamdistill.shared.core.places import is_address


@pytest.fixture
def saved(di: Callable, made_shards: Path, tmp_path: Path) -> Path:
    out = tmp_path / "model"
    options = ["--shards", made_shards, "--iterations", 1, "--epochs", 0, "--out", out]
    assert di("di-prune", *options).code == 0
    return out


def test_a_saved_model_in_place_of_shards(fails: Callable, saved: Path, tmp_path: Path) -> None:
    says = ["is a saved model", f"di-invert --teacher {saved}"]
    fails("di-distill", "--shards", saved, "--out", tmp_path / "x", code=2, says=says)
    assert not (tmp_path / "x").exists()


def test_shards_in_place_of_a_saved_model(fails: Callable, made_shards: Path) -> None:
    fails("di-model", "show", made_shards, code=2, says=["is a shard folder, and no saved model"])


def test_a_weights_file_in_place_of_a_teacher(fails: Callable, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "w.pth")
    options = ["--teacher", tmp_path / "w.pth", "--out", tmp_path / "x"]
    fails("di-invert", *options, code=2, says=["w.pth is a file: name its architecture"])


def test_an_address_in_place_of_a_folder(fails: Callable, tmp_path: Path) -> None:
    options = ["--out", tmp_path / "x"]
    fails("di-prune", "--shards", "s3://bucket/shards", *options, code=2, says=["is an address: copy the folder"])
    weights = ["--teacher", "digits_cnn", "--weights", "https://example.org/w.pth"]
    fails("di-invert", *weights, *options, code=2, says=["is an address, fetch the file first"])


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("s3:/b/x", True), ("https://e.org/x", True), ("a/b", False), ("/a:/b", False), ("C:/x", False)],
)
def test_addresses(path: str, is_one: bool) -> None:
    assert is_address(path) == is_one
