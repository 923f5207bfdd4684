"""Random SIGKILLs at di-distill and di-extend: a short sample of tests/benchmarks/kills_distill.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dreamdistill.shared.shards.loaders import dali_is_installed


@pytest.fixture(scope="module")
def kills() -> Iterator[ModuleType]:
    path = Path(__file__).parents[1] / "benchmarks" / "kills_distill.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux's /proc")
@pytest.mark.parametrize("command", ["di-distill", "di-extend"])
def test_random_kills_of_a_training(kills: ModuleType, tmp_path: Path, command: str) -> None:
    loader = "dali" if dali_is_installed() else "webdataset"
    training = kills.Training(command=command, scratch=tmp_path, loader=loader, processes=1, epochs=6, in_memory=False)
    training.prepare()
    report = kills.disturb(training, kills=2, seed=0)
    assert sum(report["kills"].values()) == 2
    assert report["identical"] == report["runs"]
    assert report["starts"] > report["runs"]
    assert not report["unexpected_files"]
