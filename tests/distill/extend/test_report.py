"""What a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.distill.extend import stage


@pytest.mark.parametrize(("share", "warned"), [(1.0, True), (0.8, False)])
def test_synthetic_images_that_became_a_class_are_named(
    di: Callable, five_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, warned: bool
) -> None:
    monkeypatch.setattr(stage.SeparationSets, "measure", lambda *_: share)
    options = ["--shards", five_digits, "--new", "digits:train:5-9", "--eval", "digits", "--no-flip", "--epochs", 0]
    done = di("di-extend", *options, "--out", tmp_path / "x", "--json")
    assert json.loads(done.stdout)["separation"] == share
    assert ("tells synthetic from real images of the old classes (100%" in done.stderr) == warned
    assert ("compare --criterion abd" in done.stderr) == warned
