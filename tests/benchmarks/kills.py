"""Kill test: SIGKILLs workers and the command itself at random moments, and starts it again until it is done.

    python tests/benchmarks/kills.py --kills 20 --shards 30 --seed 0 --json

Afterwards every shard must be whole, with the bytes of a run without kills, and the folder must hold nothing else.
docs/reliability.md quotes its figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROUND = ("--teacher", "digits_cnn", "--shard-size", "4", "--steps", "150")
DONE, KILLED, PARTIAL = 0, -signal.SIGKILL, 3


def disturb(out: Path, *, kills: int, shards: int, seed: int, workers: int = 2) -> dict[str, Any]:
    """Run di-invert into ``out`` with so many kills, and return what happened.

    One kill in three hits the command (whose workers end with it), the others hit a worker. A kill comes 0 to 1.5 s
    after all workers run, or after the last kill.
    """
    rng = random.Random(seed)
    command = [
        str(BIN / "di-invert"),
        *ROUND,
        "--images",
        str(4 * shards),
        "--workers",
        str(workers),
        "--out",
        str(out),
    ]
    killed = {"command": 0, "worker": 0}
    starts = partial = 0
    begun = time.monotonic()
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        starts += 1
        while sum(killed.values()) < kills and process.poll() is None:
            victims = _children(process.pid)
            if len(victims) < workers:
                time.sleep(0.05)
                continue
            time.sleep(rng.uniform(0, 1.5))
            what = rng.choice(["command", "worker", "worker"])
            victim = process.pid if what == "command" else rng.choice(victims)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed[what] += 1
        stderr = process.communicate()[1]
        if process.returncode == DONE:
            break
        assert process.returncode in (KILLED, PARTIAL), stderr
        partial += process.returncode == PARTIAL
    return {"kills": killed, "starts": starts, "partial": partial, "seconds": round(time.monotonic() - begun, 1)}


def tars(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def unexpected_files(folder: Path, shards: int) -> set[str]:
    """Names in the folder that do not belong to a complete run of so many shards."""
    own = {f"{number:06d}.{suffix}" for number in range(shards) for suffix in ("tar", "idx", "json")}
    return {path.name for path in folder.iterdir()} - own - {"manifest.json", "_info.json", ".locks"}


def undisturbed(out: Path, shards: int) -> None:
    subprocess.run([*_command(out, shards), "--workers", "1"], check=True, capture_output=True)


def _command(out: Path, shards: int) -> list[str]:
    return [str(BIN / "di-invert"), *ROUND, "--images", str(4 * shards), "--out", str(out)]


def _children(pid: int) -> list[int]:
    """Worker processes of a command: children with the command line of a spawned process (Linux)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except FileNotFoundError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--shards", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        calm, wild = Path(scratch, "calm"), Path(scratch, "wild")
        undisturbed(calm, options.shards)
        report = disturb(wild, kills=options.kills, shards=options.shards, seed=options.seed)
        report |= {
            "shards": len(tars(wild)),
            "identical": tars(wild) == tars(calm),
            "unexpected_files": sorted(unexpected_files(wild, options.shards)),
        }
    print(json.dumps(report) if options.json else report)


if __name__ == "__main__":
    main()
