"""How long the commands take beside busy neighbours, by how OpenMP's threads wait for one another.

    python tests/benchmarks/bench_busy.py --neighbours 1,4

A neighbour is a process that never waits. ``spinning`` is what libgomp does where nothing is set. docs/performance.md
quotes its figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
POLICIES = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "spinning shortly": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
INVERT = "di-invert --teacher digits_cnn --images 64 --threads 2 --steps"
DISTILL = "di-distill --batch-size 16 --epochs"


def seconds(command: str, environment: dict[str, str], *, shards: Path, out: Path | None) -> float:
    """Wall time of one call, from its start to its end."""
    name, *arguments = command.split()
    folders = ["--out", str(shards)] if out is None else ["--shards", str(shards), "--out", str(out)]
    started = time.perf_counter()
    subprocess.run(
        [BIN / name, *arguments, *folders, "--overwrite", "--json"],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", default="0,1,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of di-invert")
    parser.add_argument("--epochs", type=int, default=10, help="of di-distill, 4 steps each")
    options = parser.parse_args()
    commands = f"{INVERT} {options.steps}", f"{DISTILL} {options.epochs}"
    for count in map(int, options.neighbours.split(",")):
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            measure(f"{count} neighbours", commands, options.rounds)
        finally:
            for process in neighbours:
                process.kill()


def measure(title: str, commands: tuple[str, str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards, out = Path(folder, "shards"), Path(folder, "run")
        for command in commands:
            taken: dict[str, list[float]] = {name: [] for name in POLICIES}
            for _ in range(rounds):
                for name, environment in POLICIES.items():  # in turn: what else the machine does affects all alike
                    where = out if command.startswith("di-distill") else None
                    taken[name].append(seconds(command, environment, shards=shards, out=where))
            medians = ", ".join(f"{name} {statistics.median(values):.1f} s" for name, values in taken.items())
            print(f"{title}: {command}: {medians}", flush=True)


if __name__ == "__main__":
    main()
