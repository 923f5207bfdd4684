"""Cost as work grows: images a second and peak memory of one ``di-invert`` process that makes 1, 5 and 20 shards.

    python tests/benchmarks/bench_shards.py [--teacher digits_cnn] [--steps 200] [--rounds 3] [--json]

Every run is a fresh process; seconds are the report's, so starting Python is not counted and loading the teacher is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

SHARDS = (1, 5, 20)


def run(arguments: argparse.Namespace, shards: int) -> tuple[float, float]:
    """Images a second, and the peak of the process's resident memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from dreamdistill.invert.cli import main; main()", "--json", "--workers", "1"]
        command += ["--teacher", arguments.teacher, "--out", folder, "--steps", str(arguments.steps)]
        command += ["--recipe", "cifar10-deepinversion", "--shard-size", str(arguments.images_a_shard)]
        images = shards * arguments.images_a_shard
        process = subprocess.Popen(
            [*command, "--images", str(images)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return images / report["seconds"], usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--teacher", default="digits_cnn")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images-a-shard", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measured: dict[int, list[tuple[float, float]]] = {shards: [] for shards in SHARDS}
    for _ in range(arguments.rounds):
        for shards in SHARDS:
            measured[shards].append(run(arguments, shards))
    rows = {
        str(shards): {
            "images_a_second": round(statistics.median(rate for rate, _ in runs), 3),
            "peak_mib": round(statistics.median(peak for _, peak in runs), 1),
        }
        for shards, runs in measured.items()
    }
    print(json.dumps(rows) if arguments.json else "\n".join(f"{shards} shards: {row}" for shards, row in rows.items()))


if __name__ == "__main__":
    main()
