"""``di-run FILE --dry-run``: the plan, and a look at the evaluation images of each stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers import Di, Fails
from PIL import Image

DIGITS = {"stage": "invert", "teacher": "digits_cnn", "images": 20}
ADAPT = {"stage": "adapt", "rounds": 2, "invert": {"teacher": "digits_cnn", "images": 20}, "distill": {"epochs": 1}}
STAGES = {
    "rounds": ADAPT,
    "student": {"stage": "distill", "shards": "rounds", "student": "digits_cnn_small"},
    "images": {"stage": "invert", "teacher": "student", "images": 20},
    "pruned": {"stage": "prune", "shards": "images"},
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of three classes, where the digits have ten."""
    for name in "abc":
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / name / "1.png")
    return tmp_path / "photos"


def pipeline(folder: Path, stages: dict[str, dict], **others: object) -> Path:
    file = folder / "some.yaml"
    file.write_text(yaml.safe_dump({"out": str(folder / "out"), **others, "stages": stages}, sort_keys=False))
    return file


def test_images_that_fit_and_results_that_are_not_there_yet(di: Di, tmp_path: Path) -> None:
    code, stdout, stderr = di("di-run", pipeline(tmp_path, STAGES, eval="digits"), "--dry-run", "--json")
    assert code == 0, stderr
    assert list(json.loads(stdout)) == ["rounds_1", "rounds_student_1", "rounds_2", "student", "images", "pruned"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", STAGES)
def test_images_of_other_classes_in_any_stage(fails: Fails, tmp_path: Path, photos: Path, name: str) -> None:
    own = {"eval": str(photos)}
    changed = {**ADAPT, "distill": {"epochs": 1, **own}} if name == "rounds" else {**STAGES[name], **own}
    file = pipeline(tmp_path, {**STAGES, name: changed})
    fails("di-run", file, "--dry-run", code=2, says=[str(photos), "3 classes", "10"])


def test_shards_that_were_made_before(di: Di, fails: Fails, made_shards: Path, tmp_path: Path, photos: Path) -> None:
    student = {"stage": "distill", "shards": str(made_shards), "student": "digits_cnn_small"}
    assert di("di-run", pipeline(tmp_path, {"student": student}, eval="digits"), "--dry-run")[0] == 0
    file = pipeline(tmp_path, {"student": student}, eval=str(photos))
    fails("di-run", file, "--dry-run", code=2, says=["3 classes"])
    nowhere = pipeline(tmp_path, {"student": {**student, "shards": "nowhere"}}, eval="digits")
    fails("di-run", nowhere, "--dry-run", code=2, says=["nowhere"])


def test_without_images_nothing_is_loaded(di: Di, tmp_path: Path) -> None:
    assert di("di-run", pipeline(tmp_path, {"images": {**DIGITS, "teacher": "nothing.py:net"}}), "--dry-run")[0] == 0
