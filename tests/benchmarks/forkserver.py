"""Runs the commands in forked children of one process that has everything imported, each under a watchdog.

Importing torch takes seconds, and a thousand runs of a command would spend an hour on it. A child has its own folder,
home and session. It has no network where the system lets it give it up. Its exit code, output, time and memory are
kept.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from command_modules import MODULES
from confinement import die_with_parent

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # read when torch and numpy are imported: a process with threads must not fork
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

LATE = (
    "dreamdistill.invert.stage",
    "dreamdistill.distill.stage",
    "dreamdistill.prune.stage",
    "dreamdistill.shared.shards.quality",
    "dreamdistill.shared.shards.gallery",
    "dreamdistill.shared.shards.monitor",
    "sklearn.datasets",
    "torchvision.datasets",
    "webdataset",
)
SECONDS = 30.0  # a run that takes longer is a hang, on a machine that has nothing else to do
BYTES = 2 * 2**30  # of memory, at most; torch and the libraries, 0.7 GB, are in it
_POLL = 0.02  # seconds between two looks at a child
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of every script that runs commands here."""
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a run that takes longer is a hang")
    parser.add_argument("--verbose", action="store_true", help="name each faulty run on stderr")
    parser.add_argument("--json", action="store_true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a command.

    Attributes:
        command, arguments: ``di-shards`` and ``("show", "shards")``.
        folder: working directory; the home is ``.home`` in it, and the output goes to ``.stdout`` and ``.stderr``.
        new_process: start Python for it, as a user does, in place of a fork: for what happens while Python starts.
    """

    command: str
    arguments: tuple[str, ...]
    folder: Path
    new_process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        code: exit code; minus the number of the signal that ended it.
        hung, swelled: it was ended here, because of its time, or of its memory.
        seconds: wall time.
        bytes: largest memory of the process.
    """

    code: int
    hung: bool
    swelled: bool
    seconds: float
    bytes: int
    stdout: str
    stderr: str


def preload() -> None:
    """Import all that the commands import."""
    for module in (*MODULES.values(), *LATE):
        importlib.import_module(module)


def run_all(runs: Iterable[Run], *, jobs: int = 1, seconds: float = SECONDS) -> Iterator[tuple[Run, Outcome]]:
    """Run the commands, so many at a time, and yield each when it has ended. ``runs`` is read as it is needed.

    Args:
        seconds: a run that takes longer is a hang.
    """
    preload()
    waiting = iter(runs)
    active: list[_Child] = []
    while True:
        while len(active) < jobs and (run := next(waiting, None)) is not None:
            active.append(_Child(run, seconds))
        if not active:
            return
        for child in [child for child in active if child.has_ended()]:
            active.remove(child)
            yield child.run, child.outcome()
        if active:
            select.select([child.descriptor for child in active], [], [], _POLL)


def run_one(command: str, *arguments: object, folder: Path, new_process: bool = False) -> Outcome:
    """Run one command to its end."""
    run = Run(command=command, arguments=tuple(map(str, arguments)), folder=folder, new_process=new_process)
    return next(run_all([run]))[1]


class _Child:
    """A run that was started."""

    def __init__(self, run: Run, seconds: float) -> None:
        self.run = run
        self.seconds = seconds
        (run.folder / ".home").mkdir(exist_ok=True)
        self.started = time.monotonic()
        self.hung = self.swelled = False
        self.peak = 0
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(run)
        self.descriptor = os.pidfd_open(self.pid)  # readable when the child has ended

    def has_ended(self) -> bool:
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self.code = os.waitstatus_to_exitcode(status)
            self.peak = max(self.peak, usage.ru_maxrss * 1024)
            os.close(self.descriptor)
            self._kill_group()  # what it left running
            return True
        self.peak = max(self.peak, _resident(self.pid))
        self.swelled = self.swelled or self.peak > BYTES
        self.hung = self.hung or time.monotonic() - self.started > self.seconds
        if self.hung or self.swelled:
            self._kill_group()
        return False

    def outcome(self) -> Outcome:
        assert self.code is not None
        return Outcome(
            code=self.code,
            hung=self.hung,
            swelled=self.swelled or self.peak > BYTES,
            seconds=time.monotonic() - self.started,
            bytes=self.peak,
            stdout=_text(self.run.folder / ".stdout"),
            stderr=_text(self.run.folder / ".stderr"),
        )

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _become(run: Run) -> None:
    """What the child does. It never returns."""
    code = 70
    try:
        os.setsid()
        die_with_parent()
        os.chdir(run.folder)
        for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, ".stdout", _WRITE), (2, ".stderr", _WRITE)):
            opened = os.open(name, flags, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        _own_surroundings(run.folder)
        if run.new_process:
            program = shutil.which(run.command, path=str(Path(sys.executable).parent)) or run.command
            os.execv(program, [program, *run.arguments])
        code = _call(run.command, run.arguments)
        threading._shutdown()  # type: ignore[attr-defined]  # Python waits for these threads, so a hang shows here too
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code & 0xFF)


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _own_surroundings(folder: Path) -> None:
    home = folder / ".home"
    for name in [name for name in os.environ if name.startswith("DI_") or name in ("RANK", "WORLD_SIZE")]:
        del os.environ[name]
    here = {"HOME": home, "XDG_STATE_HOME": home / "state", "XDG_CACHE_HOME": home / "cache", "TMPDIR": home}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    os.environ |= {name: str(path) for name, path in here.items()} | nowhere | {"HF_HUB_OFFLINE": "1"}
    os.environ.pop("TORCH_HOME", None)
    ctypes.CDLL(None).unshare(_NEW_NETWORK)  # works for root alone; the proxies above lead nowhere either
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _call(command: str, arguments: Sequence[str]) -> int:
    import torch

    torch.set_num_threads(1)
    sys.argv = [command, *arguments]
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    try:
        importlib.import_module(MODULES[command]).main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _resident(pid: int) -> int:
    """Memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""
