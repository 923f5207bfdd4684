"""Random option lines and YAML files for every command: documented exit codes, one sentence, nothing that takes long.

    python tests/benchmarks/fuzz.py --lines 3000 --yaml 1000 --seed 0 --json

Lines are drawn from the commands' own options, with values that fit and values that do not. YAML files are drawn from
a grammar, or are the shipped pipelines with some of their bytes changed. All runs are dry, or read a small folder.
The figures are those of ``hostile.py``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confinement import run_confined
from forkserver import Run, add_run_options, run_all
from hostile_cases.base import Base
from hostile_cases.judge import command_line, describe, faults, tally
from hostile_cases.random_inputs import files, lines


def runs(base: Base, scratch: Path, options: argparse.Namespace) -> Iterator[Run]:
    """Every run, each with a folder that holds the small shards and models."""
    rng = random.Random(options.seed)
    number = 0

    def folder() -> Path:
        nonlocal number
        number += 1
        (path := scratch / f"{number:05d}").mkdir()
        for name in ("shards", "rgb", "model"):
            base.copy(path, name)
        return path

    for command, *arguments in lines(rng, options.lines):
        yield Run(command=command, arguments=tuple(arguments), folder=folder())
    for data in files(rng, options.yaml):
        (where := folder()).joinpath("options.yaml").write_bytes(data)
        name = rng.choice(["di-run", "di-run", "di-invert", "di-distill", "di-prune"])
        file = ("options.yaml",) if name == "di-run" else ("--config", "options.yaml")
        yield Run(command=name, arguments=(*file, "--dry-run"), folder=where)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=3000, help="random command lines")
    parser.add_argument("--yaml", type=int, default=1000, help="random YAML files")
    parser.add_argument("--seed", type=int, default=0)
    add_run_options(parser)
    options = parser.parse_args()
    sys.exit(run_confined(lambda scratch: run(options, scratch)))


def run(options: argparse.Namespace, scratch: Path) -> int:
    """What was asked for, in an empty folder. Returns 1 if there was a fault."""
    started = time.monotonic()
    found: list[list[str]] = []
    codes: dict[int, int] = {}
    (healthy := scratch / "base").mkdir()
    (folders := scratch / "runs").mkdir()
    every = runs(Base(healthy), folders, options)
    for each, outcome in run_all(every, jobs=options.jobs, seconds=options.seconds):
        found.append(wrong := faults(outcome))
        codes[outcome.code] = codes.get(outcome.code, 0) + 1
        if wrong and options.verbose:
            file = each.folder / "options.yaml"
            text = f"\n    {file.read_bytes()[:600]!r}" if file.exists() else ""
            print(f"{', '.join(wrong)}: {command_line(each)}{text}", file=sys.stderr)
            print(f"    {describe(outcome)}", file=sys.stderr, flush=True)
        shutil.rmtree(each.folder, ignore_errors=True)
    seconds = round(time.monotonic() - started)
    report = {"runs": len(found), **tally(found), "exit_codes": dict(sorted(codes.items())), "seconds": seconds}
    print(json.dumps(report) if options.json else report)
    return int(any(report[name] for name in tally([])))


if __name__ == "__main__":
    main()
