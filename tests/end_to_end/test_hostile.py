"""Samples of the hostile folders and of the random lines; all of them: ``tests/benchmarks/hostile.py``, ``fuzz.py``.

They start in a process of their own: it must not have threads, or forks of it would hang.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import posix

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FAULTS = ("executed", "tracebacks", "debug_sentences", "crashes", "hangs", "unclear", "escapes")
pytestmark = [posix, pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's process descriptors")]


def report_of(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / script), *options, "--json", "--verbose", "--seconds", "120"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if "root cannot be confined" in done.stderr:
        pytest.skip(done.stderr.strip())  # then nothing is run at all
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert not any(report[name] for name in FAULTS), done.stderr
    assert done.returncode == 0
    return report


def test_hostile_folders() -> None:
    assert report_of("hostile.py", "--limit", "40")["tried"] == 40


def test_random_lines_and_files() -> None:
    assert report_of("fuzz.py", "--lines", "40", "--yaml", "20")["runs"] == 60


def test_the_judge_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of each kind, made up, since there should be no real ones."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from forkserver import Outcome
    from hostile_cases.judge import faults

    def end(code: int = 1, stderr: str = "error: no\n", **how: Any) -> list[str]:
        rest = {"hung": False, "swelled": False, "seconds": 0.0, "bytes": 0, "stdout": "", **how}
        return faults(Outcome(code=code, stderr=stderr, **rest))

    assert end() == end(0, "") == end(2, "a warning\nerror: no\n") == []
    assert end(stderr="Traceback (most recent call last)\nerror: no") == ["tracebacks"]
    assert end(stderr="error: x (run again with --debug to see where)") == ["debug_sentences"]
    assert end(-11, "") == end(-9, "", swelled=True) == ["crashes"]
    assert end(-9, "", hung=True) == ["hangs"]
    assert end(7) == end(stderr="") == end(stderr="error: a\nerror: b\n") == end(stderr="error: a\nb\n") == ["unclear"]
    assert end(0, "", stdout="\x1b[31m") == ["escapes"]
