"""Workers of one run: deaths, retries, scripts that start them, and stop signals."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dreamdistill.invert.engine import batch_seed
from dreamdistill.shared.core.numerics import generator
from dreamdistill.shared.shards.locks import ShardLocks

Di = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]
WaitFor = Callable[[Callable[[], bool], subprocess.Popen[str]], None]

EIGHT = ["--teacher", "digits_cnn", "--images", 32, "--shard-size", 4, "--steps", 60]
PATIENCE = 120  # seconds
posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks are those of POSIX")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


def at_work(out: Path) -> bool:
    """Whether a shard is being made."""
    if not (out / "manifest.json").exists():
        return False
    with ShardLocks(out) as locks:
        return not locks.all_free()


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def makers(folder: Path) -> Counter[str]:
    """Worker -> number of shards that it made."""
    return Counter(json.loads(path.read_text())["worker"] for path in folder.glob("0*.json"))


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
    report = kills.disturb(wild, kills=6, shards=12, seed=1)
    assert sum(report["kills"].values()) == 6
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


@posix
@pytest.mark.parametrize(
    ("act", "workers", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 2, "killed by SIGKILL (out of memory?)"),
        ("raise RuntimeError('CUDA error: out of memory')", 2, "RuntimeError: CUDA error: out of memory"),
        ("raise RuntimeError('CUDA error: out of memory')", 1, "RuntimeError: CUDA error: out of memory"),
    ],
)
def test_a_shard_that_kills_its_workers(
    start: Start, di: Di, tmp_path: Path, act: str, workers: int, says: str
) -> None:
    out = tmp_path / "out"
    command = ["--teacher", poison(tmp_path / "network.py", act), *POISONED, "--out", out]
    code, stdout, stderr = finish(start("di-invert", *command, "--workers", workers))
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
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("when", ["inputs[0].requires_grad", "len(inputs[0]) == 4 and not inputs[0].requires_grad"])
def test_a_network_that_no_worker_survives(start: Start, tmp_path: Path, when: str, workers: int) -> None:
    """It fails in the optimisation, or in the thread that labels and writes."""
    name = network(tmp_path / "network.py", when, "raise RuntimeError('no kernel for this')")
    command = ["--teacher", name, *POISONED, "--out", tmp_path / "out"]
    code, _, stderr = finish(start("di-invert", *command, "--workers", workers))
    assert code == 1, stderr
    assert "no kernel for this" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


# Scripts


SCRIPT = """
from pathlib import Path
from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.stage import run

print("begun")
changes = {"steps": (3,)}
config = InvertConfig(teacher="digits_cnn", changes=changes, images=16, shard_size=4, workers=2, out=Path("out"))
print(run(config).shards)
"""


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_workers_of_a_script_without_a_main_guard(tmp_path: Path, way: str) -> None:
    """The script runs once: worker processes do not import it again."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py" if way == "file" else "-"],
        input=None if way == "file" else SCRIPT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begun", "4"]
    assert "Traceback" not in done.stderr
    assert sum(makers(tmp_path / "out").values()) == 4


# Stop signals


@posix
@pytest.mark.parametrize(("workers", "grace"), [(1, 60), (2, 60), (2, 0)])
def test_grace(wait_for: WaitFor, start: Start, tmp_path: Path, workers: int, grace: int) -> None:
    out = tmp_path / "out"
    command = [*EIGHT, "--steps", 400, "--workers", workers, "--out", out]
    process = start("di-invert", *command, "--grace", grace)
    wait_for(lambda: bool(makers(out)), process)
    before = sum(makers(out).values())
    os.kill(process.pid, signal.SIGUSR2)
    code, _, stderr = finish(process)
    assert code == 75, stderr
    assert "run the same command again" in stderr.splitlines()[-1]
    after = sum(makers(out).values())
    assert after < 8
    if grace:
        assert after > before  # the shards that had begun were finished
    assert not list(out.glob(".*.tmp"))


@posix
def test_a_second_signal_ends_the_run_at_once(wait_for: WaitFor, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *EIGHT, "--steps", 100000, "--workers", 2, "--out", out)
    wait_for(lambda: at_work(out), process)
    begun = time.monotonic()
    for pause in (0, 0.2, 2.5):  # SLURM sends the first two together; the third is a signal of its own
        time.sleep(pause)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
    code, _, stderr = finish(process)
    assert code == 75, stderr
    assert time.monotonic() - begun < 15
