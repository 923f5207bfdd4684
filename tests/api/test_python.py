"""The Python API: docs/python.md as it stands, modules in memory, and what is refused."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import dreamdistill as dd

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/python.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def python(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """A new interpreter, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False, timeout=300)


def test_the_page_runs_as_it_stands_as_a_script_and_on_stdin(tmp_path: Path) -> None:
    first, memory, loop = blocks()
    script = tmp_path / "script.py"
    script.write_text(first)
    done = python(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    top1 = [float(line.split()[0]) for line in done.stdout.splitlines()[1:]]
    assert len(top1) == 3
    assert top1[0] == pytest.approx(435 / 450)
    assert (tmp_path / "shards/gallery.png").exists()

    again = python(tmp_path, "-", text=first)  # as in a notebook: there is no file; all of it is done already
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout

    done = python(tmp_path, "-", text=memory + loop)
    assert done.returncode == 0, done.stderr


def test_worker_processes_need_no_guard_in_the_script(tmp_path: Path) -> None:
    script = """
import dreamdistill as dd
print("once")
shards = dd.invert("digits_cnn", out="shards", images=12, shard_size=4, steps=2, workers=2)
print(shards.num_samples)
"""
    (tmp_path / "script.py").write_text(script)
    done = python(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "12"]


def test_the_package_imports_no_torch_and_names_the_nearest() -> None:
    code = "import dreamdistill, sys; assert 'torch' not in sys.modules; print(dreamdistill.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == dd.__version__
    with pytest.raises(AttributeError, match="has no attribute 'prunne'; did you mean 'prune'"):
        getattr(dd, "prunne")  # noqa: B009


def test_functions_stay_functions_when_their_packages_are_imported() -> None:
    for name in ("invert", "distill", "prune"):
        importlib.import_module(f"dreamdistill.{name}.config")
        assert callable(getattr(dd, name)), name


def network(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4 * width, 5))


@pytest.fixture
def teacher() -> dd.Classifier:
    return dd.Classifier(network(), mean=(0.5,), std=(0.5,), image_size=8, class_names=list("abcde"))


@pytest.mark.cpu
def test_a_teacher_in_memory_goes_through_every_stage(teacher: dd.Classifier, tmp_path: Path) -> None:
    shards = dd.invert(teacher, out=tmp_path / "s", images=10, steps=2)
    record = json.loads((tmp_path / "s/manifest.json").read_text())["teacher"]
    assert (record["name"], record["class_names"]) == (None, list("abcde"))
    assert shards.agreement == pytest.approx(shards.agreement)
    small = dd.prune(shards, ratio=0.3, out=tmp_path / "p", epochs=1, iterations=1)
    assert small.report["filters_after"] < small.report["filters_before"]
    assert small.network(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert dd.load(tmp_path / "p", network=network()).sha256 == small.sha256

    module = network(4)
    student = dd.distill(shards, student=module, out=tmp_path / "d", epochs=1)
    assert student.folder == tmp_path / "d"
    assert student.report["student_top1"] is None
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(module.eval()(x), student.network(x))  # trained in place

    later = dd.ShardFolder.open(str(tmp_path / "s"))  # in another program: the module is passed again
    with pytest.raises(dd.ConfigError, match="was a network in memory: pass it again"):
        dd.prune(later, out=tmp_path / "p2")
    again = dd.distill(later, teacher=network(), student=network(4), out=tmp_path / "d2", epochs=1)
    assert again.sha256 == student.sha256


def test_a_module_in_memory_works_with_one_worker(teacher: dd.Classifier, tmp_path: Path) -> None:
    with pytest.raises(dd.ConfigError, match="works with one worker: pass workers=1, or give it as FILE"):
        dd.invert(teacher, out=tmp_path / "s", images=4, steps=1, workers=2)
    assert not (tmp_path / "s").exists()


def test_what_is_missing_or_unknown_is_named(tmp_path: Path, teacher: dd.Classifier) -> None:
    with pytest.raises(dd.ConfigError, match="needs its std too"):
        dd.invert(network(), mean=(0.5,), image_size=8, out=tmp_path / "s")
    with pytest.raises(dd.ConfigError, match="has its mean already"):
        dd.invert(teacher, mean=(0.5,), out=tmp_path / "s")
    with pytest.raises(dd.ConfigError, match=r"'imagse' in dreamdistill.invert\(\); did you mean 'images'"):
        dd.invert(teacher, out=tmp_path / "s", imagse=4)
    with pytest.raises(dd.ConfigError, match="no teacher 'resnet5O'; did you mean 'resnet50'"):
        dd.load("resnet5O")
    with pytest.raises(ValueError, match="does not exist"):  # every ConfigError is a ValueError
        dd.distill(tmp_path / "none")


@pytest.mark.parametrize("variable", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_requeued_job_deletes_nothing_from_python_either(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    options = {"student": "digits_cnn_small", "epochs": 1, "overwrite": True}
    first = dd.distill(shards, out=tmp_path / "d", **options)
    written = (tmp_path / "d/model.safetensors").stat().st_mtime_ns
    monkeypatch.setenv(variable, "1")
    assert dd.distill(shards, out=tmp_path / "d", **options).sha256 == first.sha256
    assert (tmp_path / "d/model.safetensors").stat().st_mtime_ns == written
    before = {path.name: path.stat().st_mtime_ns for path in shards.glob("*.tar")}
    made = {"images": 40, "shard_size": 20, "recipe": "cifar10-deepinversion", "steps": 3, "workers": 1}
    dd.invert("digits_cnn", out=shards, overwrite=True, **made)
    assert {path.name: path.stat().st_mtime_ns for path in shards.glob("*.tar")} == before
