"""``--class-names``: kept in the manifest, shown by the gallery, and carried to students."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Fails = Callable[..., str]
OPTIONS = ["--teacher", "digits_cnn", "--images", 10, "--steps", 2, "--workers", 1]
NAMES = "zero one two three four five six seven eight nine".split()


def names_in(path: Path) -> list[str]:
    record = json.loads(path.read_text())
    return record.get("teacher", record)["class_names"]


def test_names_are_kept_and_reach_the_student(di: Callable, tmp_path: Path) -> None:
    file, out = tmp_path / "names.txt", tmp_path / "s"
    file.write_text("\n".join(NAMES) + "\n\n")
    assert di("di-invert", *OPTIONS, "--out", out).code == 0
    assert names_in(out / "manifest.json") == []
    tars = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert di("di-invert", *OPTIONS, "--class-names", file, "--out", out).code == 0  # names change no image
    assert names_in(out / "manifest.json") == NAMES
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == tars
    assert di("di-invert", *OPTIONS, "--out", out).code == 0
    assert names_in(out / "manifest.json") == NAMES
    student = ["--student", "digits_cnn_small", "--epochs", 0, "--out", tmp_path / "d"]
    assert di("di-distill", "--shards", out, *student).code == 0
    assert names_in(tmp_path / "d/model.json") == NAMES
    assert di("di-shards", "gallery", out).code == 0


def test_names_that_do_not_fit_are_refused(fails: Fails, tmp_path: Path) -> None:
    file, out = tmp_path / "names.txt", tmp_path / "s"
    command = ["di-invert", *OPTIONS, "--class-names", file, "--out", out]
    fails(*command, code=2, says=["--class-names", str(file), "cannot be read"])
    file.write_text("a\nb\n")
    fails(*command, code=2, says=["10 classes", "2 class names"])
    file.write_bytes(b"\xff\xfe\x00")
    fails(*command, code=2, says=["--class-names", "text file"])
    assert not out.exists()
