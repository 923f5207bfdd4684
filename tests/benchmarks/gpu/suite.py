"""GPU day: the project's own tests with a GPU in sight, so that ``--device auto`` takes it.

Tests of a CPU's figures are skipped, and so are those that need what the machine lacks. The result names each failure,
with the end of its traceback, as it comes: this file is also the plugin that does so. The project has to be installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest
    from gpu.part import Run

ROOMS = "distill", "prune", "invert", "shared", "api", "end_to_end", "pipelines"
REHEARSED = ("shared/core/test_limits.py",)
OUTCOMES = "DREAMDISTILL_TEST_OUTCOMES"  # names the plugin's file: a line for each test
END = 30.0  # seconds in which pytest may end its processes
LAST_CHARACTERS = 600  # of a traceback


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called for each test's set-up, call and tear-down, in the process that collects them."""
    path = os.environ.get(OUTCOMES)
    if path and "PYTEST_XDIST_WORKER" not in os.environ and (report.when == "call" or not report.passed):
        line = {"test": report.nodeid, "outcome": report.outcome}
        if report.failed:
            line["error"] = str(report.longreprtext)[-LAST_CHARACTERS:]
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")


def measure(run: Run) -> None:
    outcomes = run.out.with_suffix(".jsonl")
    tests = [str(Path("tests") / name) for name in (REHEARSED if run.rehearse else ROOMS)]
    workers = 1 if run.rehearse else max(1, (os.cpu_count() or 2) - 1)
    command = [sys.executable, "-m", "pytest", *tests, "-n", str(workers), "--dist", "loadfile", "-p", "gpu.suite"]
    command += ["-p", "no:cacheprovider", "-W", "default", "-m", "not slurm", "--timeout", "120", "--tb", "short"]
    outcomes.touch()
    # Where this part is tested, a worker of pytest-xdist runs it, and its own workers would be taken for that one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {"DREAMDISTILL_TEST_GPU": "1", OUTCOMES: str(outcomes), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    state = "whole"
    try:
        process.wait(timeout=max(1.0, run.left() - END))
    except subprocess.TimeoutExpired:
        state = "out of time"
        process.kill()
    found: list[dict[str, Any]] = [json.loads(line) for line in outcomes.read_text().splitlines()]
    count = {each: sum(one["outcome"] == each for one in found) for each in ("passed", "failed", "skipped")}
    failures = {one["test"]: one["error"] for one in found if one["outcome"] == "failed"}
    run.write(f"{state}: {count}", state=state, **count, failures=failures)


if __name__ == "__main__":
    from gpu.part import run_part

    run_part(measure)
