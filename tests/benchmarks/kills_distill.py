"""Kill test of training: SIGKILLs di-distill, or di-extend, at random moments, and starts it again until it is done.

    python tests/benchmarks/kills_distill.py --kills 20 --loader dali --processes 2 --json
    python tests/benchmarks/kills_distill.py --command di-extend --kills 20 --loader dali --json

Afterwards the weights must be those of a run without kills, bit by bit, and the folder must hold nothing else. The
set is decoded again in each epoch, as one that does not fit into memory, so that the loader's state is in the
checkpoint; ``--in-memory`` keeps it in memory. With several processes, under torchrun, a kill hits one of them, or all
and torchrun itself. docs/reliability.md quotes its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BIN = Path(sys.executable).parent
FILES = {"README.md", "config.yaml", "metrics.jsonl", "model.json", "model.safetensors", "report.json"}
MODULES = {"di-distill": "dreamdistill.distill.cli", "di-extend": "dreamdistill.distill.extend.cli"}
SCRIPT = """
from {module} import main
from dreamdistill.shared.shards import memory_loader

if __name__ == "__main__":
    memory_loader.CPU_LIMIT = {limit}
    main()
"""


@dataclass(slots=True, kw_only=True)
class Training:
    """A training on a small shard folder.

    Attributes:
        command: di-distill or di-extend.
        scratch: an empty folder for all files.
        seconds: of the undisturbed run.
        digest: what it computed.
    """

    command: str
    scratch: Path
    loader: str
    processes: int
    epochs: int
    in_memory: bool
    seconds: float = 0.0
    digest: str = ""
    killed: dict[str, int] = field(default_factory=lambda: {"all": 0, "one process": 0})

    def prepare(self) -> None:
        """Make the shards, and train without kills."""
        make = ["di-invert", "--teacher", "digits_cnn", "--images", "240", "--shard-size", "60", "--steps", "3"]
        subprocess.run([BIN / make[0], *make[1:], "--out", self.scratch / "shards"], check=True, capture_output=True)
        random_NHWC = np.random.default_rng(0).integers(0, 255, (48, 8, 8, 1), dtype=np.uint8)
        np.savez(self.scratch / "new.npz", images=random_NHWC, labels=np.arange(48) % 2)
        limit = 2**31 if self.in_memory else 0
        (self.scratch / "train.py").write_text(SCRIPT.format(module=MODULES[self.command], limit=limit))
        begun = time.monotonic()
        with self.start(self.scratch / "calm") as process:
            stderr = process.communicate()[1]
            assert process.returncode == 0, stderr
        self.seconds = time.monotonic() - begun
        self.digest = digest(self.scratch / "calm")

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Start the command, in a process group of its own."""
        several = [str(BIN / "torchrun"), "--nproc-per-node", str(self.processes)]
        own = {"di-distill": ["--student", "digits_cnn_small"], "di-extend": ["--new", str(self.scratch / "new.npz")]}
        settings = [*own[self.command], "--batch-size", "12", "--epochs", str(self.epochs)]
        return subprocess.Popen(
            [
                *(several if self.processes > 1 else [sys.executable]),
                str(self.scratch / "train.py"),
                *("--shards", str(self.scratch / "shards"), *settings, "--loader", self.loader, "--out", str(out)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def disturbed(self, out: Path, kills: int, rng: random.Random) -> int:
        """Train into ``out``, with at most so many kills; return how often the command was started."""
        starts = 0
        while True:
            process = self.start(out)
            starts += 1
            if sum(self.killed.values()) < kills:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, self.seconds))
                if process.poll() is None:
                    self.kill(process, rng)
            stderr = process.communicate()[1]
            if process.returncode == 0:
                return starts
            assert process.returncode in (-signal.SIGKILL, 1), stderr
            assert "--debug" not in stderr, stderr

    def kill(self, process: subprocess.Popen[str], rng: random.Random) -> None:
        """Kill one process of several, or all of them."""
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        one = self.processes > 1 and len(children) == self.processes and rng.random() < 0.5
        for pid in [rng.choice(children)] if one else [process.pid, *children]:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        self.killed["one process" if one else "all"] += 1


def digest(out: Path) -> str:
    """Of the weights, and of the loss of each epoch."""
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return hashlib.sha256((out / "model.safetensors").read_bytes() + json.dumps(losses).encode()).hexdigest()


def disturb(training: Training, *, kills: int, seed: int) -> dict[str, Any]:
    """Train again and again until there were so many kills, and say what came of it."""
    rng, begun = random.Random(seed), time.monotonic()
    out = training.scratch / "wild"
    runs = starts = identical = 0
    unexpected: set[str] = set()
    while sum(training.killed.values()) < kills:
        starts += training.disturbed(out, kills, rng)
        runs += 1
        identical += digest(out) == training.digest
        unexpected |= {path.name for path in out.iterdir()} - FILES
        shutil.rmtree(out)
    return {
        "kills": training.killed,
        "runs": runs,
        "starts": starts,
        "identical": identical,
        "unexpected_files": sorted(unexpected),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=tuple(MODULES), default="di-distill")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--loader", choices=("dali", "webdataset"), default="dali")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        training = Training(
            command=asked.command,
            scratch=Path(scratch),
            loader=asked.loader,
            processes=asked.processes,
            epochs=asked.epochs,
            in_memory=asked.in_memory,
        )
        training.prepare()
        report = disturb(training, kills=asked.kills, seed=asked.seed)
    print(json.dumps(report) if asked.json else report)


if __name__ == "__main__":
    main()
