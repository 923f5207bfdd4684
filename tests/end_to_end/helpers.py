"""What several end-to-end tests ask of a folder and of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]
WaitFor = Callable[[Callable[[], bool], subprocess.Popen[str]], None]

BIN = Path(sys.executable).parent  # not resolved: the commands lie beside a virtual environment's link
ODD_NAMES = (  # of folders
    *("run#1", "50%", "a b", "it's", 'a"b', "späte Läufe", "列", "{a..c}", "{000000..000001}", "a::b", "-x", "--x"),
    *("[red]", "*?", "$HOME", "`ls`", "pipe:cat", "s3:x", "a,b", "a;b&c|d", "~", "a\\b", "new\nline", "x.tar", "a=b@c"),
)
PATIENCE = 120  # seconds, on a busy machine
posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks are those of POSIX")


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """The files of a folder and of those in it, by their paths."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob(pattern) if p.is_file()}


def tars(folder: Path) -> dict[str, bytes]:
    return contents(folder, "*.tar")


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def complete_shards(folder: Path) -> int:
    return len(list(folder.glob("[0-9]*.json")))


def makers(folder: Path) -> Counter[str]:
    """Worker -> number of shards that it made."""
    return Counter(json.loads(path.read_text())["worker"] for path in folder.glob("0*.json"))


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process: exit code, stdout, stderr."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr
