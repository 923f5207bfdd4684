"""Adaptive rounds as a user runs them: one command, killed wherever, that comes to what an undisturbed one comes to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.manifest import load_manifest

FILE = {
    "eval": "digits",
    "latency_batch": 8,
    "score": {"real": "digits"},
    "workers": 1,
    "stages": {
        "synthetic": {
            "stage": "adapt",
            "rounds": 3,
            "invert": {"teacher": "digits_cnn", "images": 20, "shard_size": 10, "steps": 4, "alpha_compete": 2},
            "distill": {"student": "digits_cnn_small", "epochs": 8, "flip": False},
        },
        "student": {
            "stage": "distill",
            "shards": "synthetic",
            "init": "synthetic_student_2",
            "epochs": 2,
            "flip": False,
        },
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "adi.yaml"
    path.write_text(yaml.safe_dump(FILE, sort_keys=False))
    return path


def results(out: Path) -> dict[str, bytes]:
    """All that the images and the students are, by name."""
    files = [*out.glob("synthetic/*.tar"), *out.glob("*/model.safetensors")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_rounds_against_a_student_that_goes_on(di: Callable, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = di("di-run", file, "--out", out, "--json")
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    rounds = load_manifest(out / "synthetic").rounds
    students = [load_model(str(out / f"synthetic_student_{n}")) for n in (1, 2)]
    assert [item.student for item in rounds] == [None, *(student.sha256 for student in students)]
    assert len({item.fingerprint for item in rounds}) == 3
    assert report["stages"]["synthetic_1"]["result"]["images"] == 20
    assert report["scores"]["synthetic"]["images"] == 60
    assert report["scores"]["synthetic"]["real_images"] == 450
    for name in ("synthetic_student_1", "synthetic_student_2", "student"):
        assert 0 <= report[f"{name}_top1"] <= 1

    again = di("di-run", file, "--out", out, "--json")
    assert again.code == 0, again.stderr
    assert {**json.loads(again.stdout), "networks": None} == {**report, "networks": None}

    # A student that was made anew is another one: its round would be made beside the one that is there.
    shutil.rmtree(out / "synthetic_student_1")
    file.write_text(file.read_text().replace("epochs: 8", "epochs: 9"))
    refused = di("di-run", file, "--out", out)
    assert refused.code == 2
    assert "round 2" in refused.stderr
    assert "synthetic_student_1 is now: --overwrite" in refused.stderr
    assert len(load_manifest(out / "synthetic").rounds) == 3
    assert di("di-run", file, "--out", out, "--overwrite").code == 0
    assert len(load_manifest(out / "synthetic").rounds) == 3


@pytest.mark.parametrize("moment", ["synthetic/000002.json", "synthetic_student_2/checkpoint.pt"])
def test_a_kill_loses_no_round(
    start: Callable[..., subprocess.Popen[str]],
    wait_for: Callable,
    di: Callable,
    whole: dict[str, bytes],
    tmp_path: Path,
    file: Path,
    moment: str,
) -> None:
    """Killed in the second round, and while the second student learns."""
    out = tmp_path / "run"
    process = start("di-run", file, "--out", out)
    wait_for((out / moment).exists, process)
    process.kill()
    process.wait()
    assert results(out) != whole
    assert di("di-run", file, "--out", out).code == 0
    assert results(out) == whole


@pytest.fixture(scope="module")
def whole(run_undisturbed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "adi.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    run_undisturbed("di-run", folder / "adi.yaml", "--out", folder / "run")
    return results(folder / "run")
