"""Folders with any character in their name, for what is written and for what is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import ODD_NAMES, Di
from PIL import Image

from dreamdistill.shared.shards.loaders import dali_is_installed

MADE = ["--teacher", "digits_cnn", "--recipe", "noise", "--images", 20, "--workers", 1]
QUICK = ["--student", "digits_cnn_small", "--epochs", 1, "--batch-size", 10, "--json"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label in range(10):
        (folder / str(label)).mkdir()
        Image.new("L", (8, 8), 20 * label).save(folder / str(label) / "a.png")
    return folder


@pytest.mark.parametrize("name", ODD_NAMES[::2])  # the loaders are tested with all
def test_folders_of_any_name(di: Di, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = di("di-invert", *MADE, "--out", name)
    assert result[0] == 0, result[2]
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / name).symlink_to(photos)
    loader = "dali" if dali_is_installed() else "webdataset"
    options = ["--loader", loader, "--eval", f"real/{name}", "--out", f"students/{name}"]
    result = di("di-distill", "--shards", name, *options, *QUICK)
    assert result[0] == 0, result[2]
    assert json.loads(result[1])["eval"] == f"real/{name}"
    assert {path.name for path in tmp_path.iterdir()} == {name, "real", "students"}
    assert {path.name for path in (tmp_path / "students").iterdir()} == {name}
    result = di("di-shards", "verify", "--json", "--", name)
    assert result[0] == 0, result[2]
