"""All measurements that need a GPU, in one command for the day there is one:

    python tests/benchmarks/gpu_day.py --minutes 9 --out runs/gpu-day [--parts engine,cifar] [--rehearse]

The parts (``gpu/NAME.py``) run one after the other, in order of worth. Each begins only if the least time that it needs
is left, and is killed with its processes at its time limit. After each part, gpu-day.json is written whole: hardware,
date, versions and, for each part, its state, seconds, result, and the end of its output if it failed. A part that fails
or is killed keeps what it had measured, and the others go on; the exit code is 0. gpu-day.log holds all output.

``--rehearse`` runs each part tiny on the CPU, to try the code. What the day needs beside the checkout is fetched by
``gpu/fetch.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "gpu"
DATA = ROOT / "build/gpu-day"  # where gpu/fetch.py puts what it fetched
DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "triton",
    "timm",
    "numpy",
    "webdataset",
    "nvidia-dali-cuda130",
)
END = 4.0  # seconds that stay unused: to kill a part and write the results
SLACK = 0.05  # share of its time that a part leaves for its end, before it is killed
LAST_LINES, LAST_CHARACTERS = 15, 2000  # of a failed part's output


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One measurement.

    Attributes:
        needs: seconds; with less left, it is not begun.
        limit: seconds, after which it is killed.
        script: takes ``--out FILE.json --seconds N [--data FOLDER] [--rehearse]``.
    """

    name: str
    needs: float
    limit: float
    script: Path


def _part(name: str, needs: float, limit: float) -> Part:
    return Part(name=name, needs=needs, limit=limit, script=SCRIPTS / f"{name}.py")


PARTS = (  # in order of worth; the times are those of an H100, where compiling ResNet-50 takes a minute
    _part("engine", 60, 300),
    _part("cifar", 150, 400),
    _part("images", 30, 200),
    _part("training", 40, 240),
    _part("prune", 25, 45),
    _part("exactness", 20, 45),
    _part("suite", 60, 300),
)


@dataclass(slots=True, kw_only=True)
class Day:
    """The parts that run one after the other, and their results in a folder."""

    out: Path
    seconds: float
    rehearse: bool = False
    data: Path | None = None
    started: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)
    stopping: bool = False

    def left(self) -> float:
        """Seconds that a part may use now."""
        return self.seconds - END - (time.monotonic() - self.started)

    def run(self, parts: Sequence[Part]) -> None:
        """Run what fits. Writes the results before the first part and after each."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.results = {"hardware": hardware(self.rehearse), "date": _today(), "versions": versions(self.data)}
        self.results |= {"minutes": round(self.seconds / 60, 2), "rehearsal": self.rehearse, "parts": {}}
        self.write()
        with tempfile.TemporaryDirectory(prefix="gpu-day-", ignore_cleanup_errors=True) as temporary, self._stops():
            for part in parts:
                self.results["parts"][part.name] = found = self._run(part, Path(temporary))
                self.write()
                print(f"{part.name:12}{found['state']:14}{found['seconds']:6.0f} s", flush=True)

    def write(self) -> None:
        """Write gpu-day.json under another name, and rename it, so that it is never half-written."""
        path = self.out / "gpu-day.json"
        unfinished = path.with_name(".gpu-day.json.tmp")
        unfinished.write_text(json.dumps(self.results, indent=1) + "\n")
        os.replace(unfinished, path)

    def _run(self, part: Part, temporary: Path) -> dict[str, Any]:
        seconds = min(part.limit, self.left())
        if self.stopping or seconds < part.needs:
            reason = f"it needs {part.needs:.0f} s, and {max(0.0, seconds):.0f} s are left"
            reason = "stopped by a signal" if self.stopping else reason
            return {"state": "left out", "seconds": 0.0, "error": reason}
        started, result = time.monotonic(), temporary / f"{part.name}.json"
        command = [sys.executable, str(part.script), "--out", str(result), "--seconds", str(seconds * (1 - SLACK))]
        command += ["--rehearse"] if self.rehearse else []
        command += ["--data", str(self.data)] if self.data is not None else []
        log = self.out / "gpu-day.log"
        with log.open("ab") as file:
            file.write(f"\n=== {part.name}\n".encode())
            file.flush()
            begin = file.tell()
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(self.data, temporary, rehearse=self.rehearse),
                cwd=ROOT,
                start_new_session=True,  # and so a process group of its own
            )
            try:
                state = self._wait(process, started + seconds)
            finally:
                _kill(process)
        found: dict[str, Any] = {"state": state, "seconds": round(time.monotonic() - started, 1)}
        with contextlib.suppress(OSError, ValueError):  # it may have written none
            found["result"] = json.loads(result.read_text())
        if state in ("failed", "out of time"):
            lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
            found["error"] = "\n".join(lines[-LAST_LINES:])[-LAST_CHARACTERS:]
        return found

    def _wait(self, process: subprocess.Popen[bytes], end: float) -> str:
        """Wait for a part until this time. Returns its state."""
        while (code := process.poll()) is None:
            if self.stopping:
                return "stopped"
            if time.monotonic() >= end:
                return "out of time"
            time.sleep(0.05)
        return "done" if code == 0 else "failed"

    @contextlib.contextmanager
    def _stops(self) -> Iterator[None]:
        """Inside, Ctrl-C and SIGTERM end the part that runs, and leave out the others."""

        def stop(number: int, frame: object) -> None:
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a part and its children, which may live on after it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=END)  # a process that waits for a driver may not end at once


def environment(data: Path | None, temporary: Path, *, rehearse: bool) -> dict[str, str]:
    """The environment of a part. Packages that were fetched come last: they stand in for those that are missing."""
    paths = [str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    paths += [str(data / "packages")] if data is not None and (data / "packages").is_dir() else []
    ours = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)}
    ours["GPU_DAY_BEGAN"] = str(time.monotonic())  # importing torch is part of a part's time
    if rehearse:  # compiling is tested elsewhere, and takes a busy CPU minutes
        ours |= {"CUDA_VISIBLE_DEVICES": "", "TORCHDYNAMO_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return {name: value for name, value in os.environ.items() if not name.startswith("DI_")} | ours


def hardware(rehearse: bool) -> str:
    """GPU, its memory and its driver, or the CPU's kind."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if not rehearse:
            return subprocess.run(query, capture_output=True, check=True, text=True, timeout=30).stdout.strip()
    return f"CPU, {platform.machine()}, {os.cpu_count()} cores"  # each part's result names the device too


def versions(data: Path | None) -> dict[str, str]:
    """Versions of Python and of the packages that matter; one that is missing is not listed."""
    folders = [*sys.path, *([str(data / "packages")] if data is not None else [])]
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        for each in metadata.distributions(name=name, path=folders):
            found.setdefault(name, each.version)
    return found


def _today() -> str:
    return datetime.now(tz=timezone.utc).date().isoformat()


def table(results: dict[str, Any]) -> str:
    """State, seconds and the main figures of each part."""
    lines = [f"{results['hardware']}, {results['date']}, torch {results['versions'].get('torch', 'unknown')}"]
    for name, found in results["parts"].items():
        summary = found.get("result", {}).get("summary") or [""]
        lines.append(f"{name:12}{found['state']:14}{found['seconds']:6.0f} s  {summary[0]}")
        lines += [" " * 36 + line for line in summary[1:]]
        if found["state"] in ("failed", "left out"):
            lines.append(" " * 36 + found["error"].rpartition("\n")[2])
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu-day.json and gpu-day.log")
    parser.add_argument("--parts", help="names with commas, in this order; without it all")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that gpu/fetch.py filled")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    asked = parser.parse_args()
    known = {part.name: part for part in PARTS}
    names = asked.parts.split(",") if asked.parts else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--parts: there is no part {unknown[0]!r}; the parts are {', '.join(known)}")
    data = asked.data.resolve() if asked.data.is_dir() else None
    day = Day(out=asked.out, seconds=60 * asked.minutes, rehearse=asked.rehearse, data=data)
    day.run([known[name] for name in names])
    print(table(day.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
