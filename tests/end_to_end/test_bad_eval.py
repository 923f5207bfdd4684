"""Loaders and evaluation sets that cannot be used: exit code 2, one sentence, and nothing written."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers import Di, Fails
from PIL import Image

QUICK = ["--epochs", 1, "--batch-size", 20]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def no_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("nvidia.dali", "nvidia.dali.fn"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]  # makes its import fail


@pytest.mark.usefixtures("no_dali")
def test_dali_is_not_installed(di: Di, fails: Fails, made_shards: Path, out: Path) -> None:
    for name in ("di-distill", "di-prune"):
        command = [name, "--shards", made_shards, *QUICK, "--out", out / name]
        fails(*command, "--loader", "dali", code=2, says=["dreamdistill[dali]", "--loader webdataset"])
        assert not (out / name).exists()

    code, _, stderr = di("di-distill", "--shards", made_shards, *QUICK, "--out", out)  # --loader auto
    assert code == 0, stderr
    assert (out / "report.json").exists()


@pytest.fixture(params=["di-distill", "di-prune", "di-distill --dry-run", "di-prune --dry-run"])
def evaluated(request: pytest.FixtureRequest, made_shards: Path, out: Path) -> list[object]:
    """A command that lacks the evaluation set alone."""
    return [*request.param.split(), "--shards", made_shards, *QUICK, "--out", out, "--eval"]


def test_image_folder_of_other_classes(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    for name in "abc":
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / name / "1.png")
    fails(*evaluated, tmp_path / "photos", code=2, says=["photos", "3 classes", "10"])
    assert not out.exists()


def test_tar_of_other_classes(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    image = io.BytesIO()
    Image.new("L", (8, 8)).save(image, "PNG")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for key, label in (("000", 3), ("001", 12)):
            for suffix, data in (("png", image.getvalue()), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    fails(*evaluated, tmp_path / "photos.tar", code=2, says=["photos.tar", "label 12", "10 classes"])
    assert not out.exists()


def test_file_that_is_no_tar(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    (tmp_path / "photos.tar").write_bytes(b"no tar at all" * 100)
    fails(*evaluated, tmp_path / "photos.tar", code=2, says=["photos.tar"])
    assert not out.exists()


def test_list_of_a_file_that_is_not_there(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "val.csv").write_text("path,label\n" + "a.png,3\n" * 5 + "b.png,3\n")
    fails(*evaluated, tmp_path / "val.csv", code=2, says=["val.csv: row 7", "b.png", "no such file"])
    assert not out.exists()


def test_arrays_of_objects(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    np.savez(tmp_path / "val.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, None], dtype=object))
    fails(*evaluated, tmp_path / "val.npz", code=2, says=["val.npz", "Python objects"])
    assert not out.exists()


def test_a_file_without_the_data_set(fails: Fails, tmp_path: Path, evaluated: list[object], out: Path) -> None:
    (tmp_path / "sets.py").write_text("val = []\n")
    fails(*evaluated, f"{tmp_path / 'sets.py'}:vals", code=2, says=["no data set 'vals'", "'val'"])
    assert not out.exists()


@pytest.mark.parametrize(
    "spec", ["photos", "torchvision:CIFAR11:here", "torchvision:CIFAR10", "digit", "x.csv", "x.py"]
)
def test_no_evaluation_set(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[object], out: Path, spec: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(*evaluated, spec, code=2, says=[spec])
    assert not out.exists()
