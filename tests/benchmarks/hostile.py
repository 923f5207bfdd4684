"""Hostile folders, models, weights and YAML files through the real commands: no code is run, and nothing breaks.

    python tests/benchmarks/hostile.py --json
    python tests/benchmarks/hostile.py --only manifest --verbose

What a stranger can compute fits: checksums and the sha256 in commit records are those of the spoiled files, so that
the checks behind them are reached. ``tried`` counts the hostile things, ``runs`` the commands they were given to. The
other figures count runs (:mod:`hostile_cases.judge`). docs/reliability.md quotes its figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from confinement import run_confined
from forkserver import SECONDS, Outcome, Run, add_run_options, run_all
from hostile_cases import all_cases
from hostile_cases.base import MARKER, Base, Case
from hostile_cases.judge import command_line, describe, faults, tally

Tried: TypeAlias = tuple[Case, Run, Outcome, list[str]]  # a run with its faults


def try_all(cases: Iterable[Case], scratch: Path, *, jobs: int = 1, seconds: float = SECONDS) -> Iterator[Tried]:
    """Give each case to its commands. Yields each run with its faults. Folders are deleted as soon as they are judged.

    Args:
        scratch: an empty folder.
    """
    case_of: dict[Path, Case] = {}

    def runs() -> Iterator[Run]:
        number = 0
        for case in cases:
            for command, *arguments in case.runs:
                folder = scratch / f"{number:06d}"
                number += 1
                folder.mkdir()
                case.make(folder)
                case_of[folder] = case
                yield Run(command=command, arguments=tuple(arguments), folder=folder, new_process=case.new_process)

    for run, outcome in run_all(runs(), jobs=jobs, seconds=seconds):
        executed = any(run.folder.rglob(f"{MARKER}*"))
        yield case_of.pop(run.folder), run, outcome, faults(outcome, executed=executed)
        shutil.rmtree(run.folder, ignore_errors=True)


def summary(results: Iterable[Tried], *, verbose: bool = False, accepted: bool = False) -> dict[str, Any]:
    """The report of all runs; with ``verbose`` each faulty run goes to stderr, and each with exit code 0."""
    tried: set[tuple[str, str]] = set()
    found: list[list[str]] = []
    slowest, largest = (0.0, ""), (0, "")  # seconds and bytes, and of which case
    for case, run, outcome, wrong in results:
        tried.add((case.kind, case.name))
        found.append(wrong)
        name = f"{case.kind}: {case.name}"
        slowest, largest = max(slowest, (outcome.seconds, name)), max(largest, (outcome.bytes, name))
        if (verbose and wrong) or (accepted and outcome.code == 0):
            print(f"{', '.join(wrong) or 'accepted'}: {name}", file=sys.stderr)
            print(f"    {command_line(run)}\n    {describe(outcome)}", file=sys.stderr, flush=True)
    return {
        "tried": len(tried),
        "runs": len(found),
        **tally(found),
        "slowest": f"{slowest[0]:.1f} s, {slowest[1]}",
        "largest": f"{largest[0] >> 20} MB, {largest[1]}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="cases of this kind alone; may be repeated")
    parser.add_argument("--limit", type=int, help="this many cases at most, spread over all")
    parser.add_argument("--accepted", action="store_true", help="name each run with exit code 0 too")
    add_run_options(parser)
    options = parser.parse_args()
    sys.exit(run_confined(lambda scratch: run(options, scratch)))


def run(options: argparse.Namespace, scratch: Path) -> int:
    """What was asked for, in an empty folder. Returns 1 if there was a fault."""
    started = time.monotonic()
    (healthy := scratch / "base").mkdir()
    (folders := scratch / "cases").mkdir()
    cases = [case for case in all_cases(Base(healthy)) if not options.only or case.kind in options.only]
    if options.limit and options.limit < len(cases):
        cases = [cases[index * len(cases) // options.limit] for index in range(options.limit)]
    results = try_all(cases, folders, jobs=options.jobs, seconds=options.seconds)
    report = summary(results, verbose=options.verbose, accepted=options.accepted)
    report["seconds"] = round(time.monotonic() - started)
    print(json.dumps(report) if options.json else report)
    return int(any(report[name] for name in tally([])))


if __name__ == "__main__":
    main()
