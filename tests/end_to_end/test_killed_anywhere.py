"""A stage that is killed before any of the changes that it makes to its folder: the next call ends as if it was not.

Each change is a rename or a deletion (all files are written under temporary names), so that these are all the states
that a kill can leave. Real SIGKILLs, at random moments, are in test_kills.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dreamdistill as dd
from dreamdistill.prune import units
from dreamdistill.shared.core import files
from dreamdistill.shared.core.files import sha256_of_file
from dreamdistill.shared.models.epochs import read_epochs

TRAINING = {"epochs": 2, "batch_size": 20, "flip": False, "loader": "webdataset"}
STAGES: dict[str, Callable[[Path, Path, Path], Any]] = {
    "distill": lambda shards, out, new: dd.distill(shards=shards, out=out, student="digits_cnn_small", **TRAINING),
    "prune": lambda shards, out, new: dd.prune(shards=shards, out=out, ratio=0.3, iterations=2, **TRAINING),
    "prune by least squares": lambda shards, out, new: dd.prune(shards=shards, out=out, ratio=0.3, repair="ls"),
    "extend": lambda shards, out, new: dd.extend(shards=shards, out=out, new=str(new), **TRAINING),
}


class Killed(BaseException):
    """Nothing of ours catches it."""


class Changes:
    """The changes of a folder, counted. From a given one on, none is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.count, self.last = folder, 0, 1000
        replace, unlink = os.replace, Path.unlink

        def counted_replace(source: Path, target: Path) -> None:
            self._count(Path(target))
            replace(source, target)

        def counted_unlink(path: Path, missing_ok: bool = False) -> None:
            if path.exists():
                self._count(path)
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "replace", counted_replace)
        monkeypatch.setattr(Path, "unlink", counted_unlink)

    def allow(self, last: int) -> None:
        """Begin a new process, which is killed before a change that follows this one."""
        self.count, self.last = 0, last
        files._being_written.clear()

    def _count(self, path: Path) -> None:
        if path.parent == self.folder:
            self.count += 1
            if self.count > self.last:
                raise Killed


def trained(out: Path) -> tuple[list[str], str, list[float], dict[str, Any]]:
    """Names of the files, the weights' digest, the loss of each epoch, and the report without its times."""
    losses = [epoch.loss for epoch in read_epochs(out)]
    report = json.loads((out / "report.json").read_text())
    report = {name: value for name, value in report.items() if name != "seconds" and not name.endswith("_ms")}
    return sorted(os.listdir(out)), json.loads((out / "model.json").read_text())["sha256"], losses, report


def killed_before_each_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Callable[[Path], Any], result: Callable[[Path], Any]
) -> int:
    """Compare the results of killed and continued runs with that of an undisturbed one. Returns how many there were."""
    changes = Changes(monkeypatch, tmp_path / "calm")
    run(tmp_path / "calm")
    expected, total = result(tmp_path / "calm"), changes.count
    for last in range(total):
        out = changes.folder = tmp_path / f"killed-{last}"
        changes.allow(last)
        with pytest.raises(Killed):
            run(out)
        changes.allow(1000)
        run(out)
        assert result(out) == expected, f"killed after {last} changes"
    return total


@pytest.mark.cpu
@pytest.mark.parametrize("stage", STAGES)
def test_killed_before_any_change_of_its_folder(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(units, "TIMED", 1e-4)  # what layers take is no matter here
    new = tmp_path / "new.npz"
    random_NHWC = np.random.default_rng(0).integers(0, 255, (24, 8, 8, 1), dtype=np.uint8)
    np.savez(new, images=random_NHWC, labels=np.arange(24) % 2)
    count = killed_before_each_change(monkeypatch, tmp_path, lambda out: STAGES[stage](shards, out, new), trained)
    assert count > 5


def test_inversion_killed_before_any_change_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"recipe": "cifar10-deepinversion", "steps": 2, "images": 20, "shard_size": 10, "workers": 1}

    def made(out: Path) -> dict[str, str | None]:
        return {path.name: sha256_of_file(path) if path.suffix == ".tar" else None for path in out.iterdir()}

    def run(out: Path) -> None:
        dd.invert(teacher="digits_cnn", out=out, **recipe)

    assert killed_before_each_change(monkeypatch, tmp_path, run, made) == 8
