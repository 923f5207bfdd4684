"""Workers that die or fail: retries and failures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import Di, posix, tars

from dreamdistill.invert.engine import batch_seed
from dreamdistill.shared.core.numerics import generator

# Deaths


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
def test_random_kills(kills: ModuleType, di: Di, tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    kills.undisturbed(calm, 12)
    report = kills.disturb(wild, kills=3, shards=12, seed=1)
    assert report["kills"] == {"command": 1, "worker": 2}
    assert kills.tars(wild) == kills.tars(calm)
    assert not kills.unexpected_files(wild, 12)
    assert di("di-shards", "verify", wild)[0] == 0


FACTORY = """
import os
import signal
from dreamdistill.shared.models.classifier import load_model

def teacher():
    network = load_model("digits_cnn").network
    def poisoned(module, inputs):
        if {when}:
            {act}
    network.register_forward_pre_hook(poisoned)
    return network
"""
OPTIMISING = "inputs[0].requires_grad"
WRITING = "len(inputs[0]) == 4 and not inputs[0].requires_grad"
POISONED = [
    "--num-classes", 10, "--mean", 0.5, "--std", 0.5, "--image-size", 8, "--images", 32, "--shard-size", 4,
    "--recipe", "cifar10-deepinversion", "--steps", 3, "--jitter", 0,
]  # fmt: skip


def network(path: Path, when: str, act: str) -> str:
    path.write_text(FACTORY.format(when=when, act=act))
    return f"{path}:teacher"


def poison(path: Path, act: str) -> str:
    """A user's network that runs ``act`` when its input is the first noise of shard 2."""
    seed = batch_seed(seed=0, round=0, shard=2, batch=0, attempt=0)
    noise = torch.randn(4, 1, 8, 8, generator=generator(torch.device("cpu"), seed))
    return network(path, f"abs(inputs[0].flatten()[0].item() - {float(noise.flatten()[0])!r}) < 1e-6", act)


@pytest.mark.cpu
@posix
@pytest.mark.parametrize(
    ("act", "workers", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 2, "killed by SIGKILL (out of memory?)"),
        ("raise RuntimeError('CUDA error: out of memory')", 1, "RuntimeError: CUDA error: out of memory"),
    ],
)
def test_a_shard_that_kills_its_workers(di: Di, tmp_path: Path, act: str, workers: int, says: str) -> None:
    out = tmp_path / "out"
    command = ["--teacher", poison(tmp_path / "network.py", act), *POISONED, "--out", out]
    code, stdout, stderr = di("di-invert", *command, "--workers", workers)
    assert code == 3, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert len([line for line in stderr.splitlines() if line.startswith("shard 000002: ") and "again" in line]) == 2
    error = stderr.splitlines()[-1]
    assert error.startswith("error: 1 of 8 shards failed: 000002 (")
    assert f"{says}, 3 times" in error
    assert len(tars(out)) == 7
    assert says in json.loads((out / "000002.failed").read_text())["reason"]
    assert not list(out.glob(".*.tmp"))

    network(tmp_path / "network.py", "False", "pass")  # the GPU has been replaced, say
    code, _, stderr = di("di-invert", *command, "--workers", 1)
    assert code == 0, stderr
    assert not (out / "000002.failed").exists()
    assert di("di-shards", "verify", out)[0] == 0


@posix
@pytest.mark.parametrize(("when", "workers"), [(OPTIMISING, 1), (WRITING, 1), (WRITING, 2)])
def test_a_network_that_no_worker_survives(di: Di, tmp_path: Path, when: str, workers: int) -> None:
    """It fails in the optimisation, or in the thread that labels and writes."""
    name = network(tmp_path / "network.py", when, "raise RuntimeError('no kernel for this')")
    command = ["--teacher", name, *POISONED, "--out", tmp_path / "out"]
    code, _, stderr = di("di-invert", *command, "--workers", workers)
    assert code == 1, stderr
    assert "no kernel for this" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
