"""How far a run is, on however many machines, read from the marks in its folder and from nothing else.

A look is one listing of the folder, and the text of those marks that came since the look before. Nothing is written, so
a run can be watched from wherever its folder can be read.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..core.errors import ConfigError
from .manifest import MANIFEST, Manifest, load_manifest
from .records import COMMIT, FAILED, PARTS, ShardFailure, read_failures, read_record, shard_path

RECENT = 5  # a worker's rate is that of so many of its last shards
LATE = 3  # a worker is taken to have stopped after so many times its longest shard without another
PATIENCE = 60.0  # seconds, but never before: clocks differ, and file servers' listings are old by as much

State = Literal["no_folder", "no_manifest", "idle", "working", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """What a worker has left in the folder.

    Attributes:
        worker: host and process.
        shards, images: whole ones that it made.
        images_per_second: over its last few shards.
        seconds_since_last: age of its last mark.
        at_work: whether that is no longer ago than it may be; see :data:`LATE`.
    """

    worker: str
    shards: int
    images: int
    images_per_second: float
    seconds_since_last: float
    at_work: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run as it is at one moment; all rounds of its folder count.

    Attributes:
        state: ``no_folder`` and ``no_manifest`` yet, ``idle`` (nobody at work), ``working``, or ``done``.
        teacher: its name, empty as long as there is no manifest.
        images_per_second: of those at work, together.
        seconds_left: at that rate, or None if there is none.
        seconds_since_last: age of the newest mark, or None if there is none.
        workers: those at work by name, then the others, last seen first.
        failures: why shards were given up that are still missing, by number.
    """

    state: State
    teacher: str = ""
    shards: int = 0
    shards_planned: int = 0
    images: int = 0
    images_planned: int = 0
    images_per_second: float = 0.0
    seconds_left: float | None = None
    seconds_since_last: float | None = None
    workers: tuple[WorkerStatus, ...] = ()
    failures: Mapping[int, ShardFailure] = field(default_factory=dict)

    @property
    def at_work(self) -> int:
        return sum(worker.at_work for worker in self.workers)

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self) | {
            "failed": len(self.failures),
            "failures": [{"shard": number, **asdict(failure)} for number, failure in self.failures.items()],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """What is kept of a commit mark; ``time`` is the file's, by the clock of the machine that holds the folder."""

    inode: int
    time: float
    count: int
    seconds: float
    worker: str


class RunMonitor:
    """Looks at a shard folder again and again, and remembers the marks that it has read.

    Args:
        clock: this machine's time, in seconds since 1970.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._stamp: tuple[int, ...] = ()  # tells whether manifest.json is the one that was read
        self._manifest: Manifest | None = None
        self._planned: frozenset[int] = frozenset()
        self._marks: dict[int, _Mark] = {}
        self._failed: dict[int, int] = {}  # number -> inode of the failure marks that were read
        self._failures: dict[int, ShardFailure] = {}

    def look(self) -> RunStatus:
        """The run as it is now.

        Raises:
            ConfigError: the path is no folder, or of another schema version.
            DreamError: the manifest or a mark is damaged.
        """
        try:
            manifest = self._read_manifest()
            listed = _listing(self.folder) if manifest else {}
        except FileNotFoundError:
            return RunStatus(state="no_folder")
        except NotADirectoryError as error:
            raise ConfigError(f"{self.folder} is a file, not a folder of shards") from error
        if manifest is None:
            return RunStatus(state="no_manifest" if self.folder.is_dir() else "no_folder")
        self._read_marks(listed)
        self._read_failures(listed[FAILED])
        return self._summary(manifest)

    def _read_manifest(self) -> Manifest | None:
        """The manifest, read again only if it is another file; what was read of another run's shards is forgotten."""
        try:
            status = (self.folder / MANIFEST).stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                manifest = load_manifest(self.folder)
                if manifest != self._manifest:
                    self._marks.clear()
                    self._failed.clear()
                    self._planned = frozenset(plan.number for plan in manifest.shards())
                self._stamp, self._manifest = stamp, manifest
        except FileNotFoundError:
            return None
        except ConfigError:
            if (self.folder / MANIFEST).exists():
                raise
            return None  # it was there a moment ago
        return self._manifest

    def _read_marks(self, listed: Mapping[str, Mapping[int, int]]) -> None:
        whole = self._planned.intersection(*(listed[suffix] for suffix in PARTS))
        for number in self._marks.keys() - whole:
            del self._marks[number]
        for number in sorted(whole):
            # A mark that was replaced is another file. Its inode comes with the listing; its time would have to be
            # asked for, mark by mark, of a file server.
            inode = listed[COMMIT][number]
            known = self._marks.get(number)
            if known is None or known.inode != inode:
                mark = self._read_mark(number, inode)
                if mark is not None:
                    self._marks[number] = mark

    def _read_mark(self, number: int, inode: int) -> _Mark | None:
        """A commit mark, or None if it is gone again."""
        try:
            modified = shard_path(self.folder, number, COMMIT).stat().st_mtime
            record = read_record(self.folder, number)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):  # how NFS says that a file was replaced
                raise
            return None
        if record is None:
            return None
        return _Mark(inode=inode, time=modified, count=record.count, seconds=record.seconds, worker=record.worker)

    def _read_failures(self, listed: Mapping[int, int]) -> None:
        failed = {n: inode for n, inode in listed.items() if n in self._planned and n not in self._marks}
        if failed != self._failed:
            assert self._manifest is not None
            plans = [plan for plan in self._manifest.shards() if plan.number in failed]
            self._failures = read_failures(self.folder, plans) if failed else {}
            self._failed = failed

    def _summary(self, manifest: Manifest) -> RunStatus:
        marks = self._marks.values()
        newest = max((mark.time for mark in marks), default=None)
        # The marks' times are the file server's. If this machine's clock is behind, the newest mark tells better.
        now = max(self._clock(), newest or 0.0)
        made: dict[str, list[_Mark]] = {}
        for mark in marks:
            made.setdefault(mark.worker, []).append(mark)
        done = len(marks) == len(self._planned)
        views = [_view(worker, of_worker, now, done=done) for worker, of_worker in made.items()]
        planned, images = sum(item.images for item in manifest.rounds), sum(mark.count for mark in marks)
        rate = sum(view.images_per_second for view in views if view.at_work)
        working = any(view.at_work for view in views)
        return RunStatus(
            state="done" if done else "working" if working else "idle",
            teacher=str(manifest.teacher.get("name", "")),
            shards=len(marks),
            shards_planned=len(self._planned),
            images=images,
            images_planned=planned,
            images_per_second=rate,
            seconds_left=0.0 if done else (planned - images) / rate if rate > 0 else None,
            seconds_since_last=None if newest is None else now - newest,
            workers=tuple(sorted(views, key=_by_presence)),
            failures=dict(self._failures),
        )


def _listing(folder: Path) -> dict[str, dict[int, int]]:
    """Of each kind of file that a shard has, the shards' numbers and the files' inodes."""
    found: dict[str, dict[int, int]] = {suffix: {} for suffix in (*PARTS, FAILED)}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, _, suffix = entry.name.partition(".")
            if suffix in found and len(stem) >= 6 and stem.isdecimal():
                found[suffix][int(stem)] = entry.inode()
    return found


def _view(worker: str, marks: list[_Mark], now: float, *, done: bool) -> WorkerStatus:
    recent = sorted(marks, key=lambda mark: mark.time)[-RECENT:]
    age = now - recent[-1].time
    return WorkerStatus(
        worker=worker,
        shards=len(marks),
        images=sum(mark.count for mark in marks),
        images_per_second=sum(mark.count for mark in recent) / max(sum(mark.seconds for mark in recent), 1e-3),
        seconds_since_last=age,
        at_work=not done and age <= max(LATE * max(mark.seconds for mark in marks), PATIENCE),
    )


def _by_presence(view: WorkerStatus) -> tuple[float, str]:
    return (-1.0 if view.at_work else view.seconds_since_last), view.worker
