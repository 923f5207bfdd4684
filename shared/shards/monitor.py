"""The progress of a run on any number of machines, read from the commit and failure records in its folder alone.

Each query lists the folder once and reads the records that are new since the query before. It writes nothing, so a run
can be monitored from any machine that can read the folder.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..core.errors import ConfigError
from ..core.places import MANIFEST
from .manifest import Manifest, ShardPlan, load_manifest
from .records import COMMIT, FAILED, PARTS, ShardFailure, listed, read_failures, read_record, shard_path

RECENT = 5  # a worker's rate is the mean over its last RECENT shards
LATE = 3  # a worker counts as stopped when its last shard is older than LATE times its longest shard took
PATIENCE = 60.0  # seconds before any worker counts as stopped: clocks differ, and listings of file servers may be old

State = Literal["no_folder", "no_manifest", "idle", "working", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """What is known of a worker from its commit records.

    Attributes:
        worker: host and process id.
        shards, images: how many complete shards it made, and their images.
        images_per_second: over its last few shards (:data:`RECENT`).
        seconds_since_last: age of its last commit record.
        at_work: whether it probably still runs, by the age of its last commit record (:data:`LATE`).
    """

    worker: str
    shards: int
    images: int
    images_per_second: float
    seconds_since_last: float
    at_work: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The status of a run at one moment. It covers all rounds of the folder.

    Attributes:
        state: ``no_folder`` (there is no folder yet), ``no_manifest`` (it is empty yet), ``idle`` (no worker runs),
            ``working``, or ``done``.
        teacher: its name, or empty without a manifest.
        shards, images: how many are complete.
        shards_planned, images_planned: how many there will be.
        images_per_second: sum over the running workers.
        seconds_left: at that rate; None if no worker runs.
        seconds_since_last: age of the newest commit record; None if there is none.
        workers: running workers by name, then the others, the most recent first.
        failures: shard number -> why the shard failed, for shards that are still missing.
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
        """Number of running workers."""
        return sum(worker.at_work for worker in self.workers)

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self) | {
            "failed": len(self.failures),
            "failures": [{"shard": number, **asdict(failure)} for number, failure in self.failures.items()],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    """What is kept of a :class:`~.records.CommitRecord`. ``time`` is when its file was written, by the clock of the
    machine that holds the folder; a record that was replaced has another ``inode``."""

    inode: int
    time: float
    count: int
    seconds: float
    worker: str


class RunMonitor:
    """Reads the status of a run from its shard folder, again and again. It keeps the records that it has read.

    Args:
        clock: returns this machine's time, in seconds since 1970.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._stamp: tuple[int, ...] = ()  # identifies the version of manifest.json that was read
        self._manifest: Manifest | None = None
        self._planned: dict[int, ShardPlan] = {}
        self._commits: dict[int, _Commit] = {}
        self._failed: dict[int, int] = {}  # number -> inode of the failure records that were read
        self._failures: dict[int, ShardFailure] = {}

    def status(self) -> RunStatus:
        """The status of the run now.

        Raises:
            ConfigError: the path is a file, or the folder has another schema version.
            DreamError: the manifest or a record is damaged.
        """
        try:
            manifest = self._read_manifest()
            found = listed(self.folder) if manifest else {}
        except FileNotFoundError:
            return RunStatus(state="no_folder")
        except NotADirectoryError as error:
            raise ConfigError(f"{self.folder} is a file; pass the folder of the shards") from error
        if manifest is None:
            return RunStatus(state="no_manifest" if self.folder.is_dir() else "no_folder")
        self._read_commits(found)
        self._read_failures(found[FAILED])
        return self._summary(manifest)

    def _read_manifest(self) -> Manifest | None:
        """The manifest, which is read again only if its file changed. Records of an earlier run are then forgotten."""
        try:
            status = (self.folder / MANIFEST).stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                manifest = load_manifest(self.folder)
                if manifest != self._manifest:
                    self._commits.clear()
                    self._failed.clear()
                    self._planned = {plan.number: plan for plan in manifest.shards()}
                self._stamp, self._manifest = stamp, manifest
        except FileNotFoundError:
            return None
        except ConfigError:
            if (self.folder / MANIFEST).exists():
                raise
            return None  # it was deleted a moment ago
        return self._manifest

    def _read_commits(self, found: Mapping[str, Mapping[int, int]]) -> None:
        complete = self._planned.keys() & set.intersection(*(set(found[suffix]) for suffix in PARTS))
        for number in self._commits.keys() - complete:
            del self._commits[number]
        for number in sorted(complete):
            # A record that was replaced is another file. Its inode comes with the listing, while its time would need a
            # request to the file server for each record.
            inode = found[COMMIT][number]
            known = self._commits.get(number)
            if known is None or known.inode != inode:
                commit = self._read_commit(number, inode)
                if commit is not None:
                    self._commits[number] = commit

    def _read_commit(self, number: int, inode: int) -> _Commit | None:
        """A commit record, or None if it was deleted meanwhile."""
        try:
            modified = shard_path(self.folder, number, COMMIT).stat().st_mtime
            record = read_record(self.folder, self._planned[number])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):  # the error of NFS for a file that was replaced
                raise
            return None
        if record is None:
            return None
        return _Commit(inode=inode, time=modified, count=record.count, seconds=record.seconds, worker=record.worker)

    def _read_failures(self, listed: Mapping[int, int]) -> None:
        failed = {n: inode for n, inode in listed.items() if n in self._planned and n not in self._commits}
        if failed != self._failed:
            self._failures = read_failures(self.folder, [self._planned[number] for number in failed])
            self._failed = failed

    def _summary(self, manifest: Manifest) -> RunStatus:
        commits = self._commits.values()
        newest = max((commit.time for commit in commits), default=None)
        # The file server's clock sets the times of files. If this machine's clock is behind, the newest is nearer.
        now = max(self._clock(), newest or 0.0)
        by_worker: dict[str, list[_Commit]] = {}
        for commit in commits:
            by_worker.setdefault(commit.worker, []).append(commit)
        done = len(commits) == len(self._planned)
        workers = [_worker_status(worker, own, now, done=done) for worker, own in by_worker.items()]
        planned, images = sum(item.images for item in manifest.rounds), sum(commit.count for commit in commits)
        rate = sum(worker.images_per_second for worker in workers if worker.at_work)
        working = any(worker.at_work for worker in workers)
        return RunStatus(
            state="done" if done else "working" if working else "idle",
            teacher=manifest.teacher.title,
            shards=len(commits),
            shards_planned=len(self._planned),
            images=images,
            images_planned=planned,
            images_per_second=rate,
            seconds_left=0.0 if done else (planned - images) / rate if rate > 0 else None,
            seconds_since_last=None if newest is None else now - newest,
            workers=tuple(sorted(workers, key=_running_first)),
            failures=dict(self._failures),
        )


def _worker_status(worker: str, commits: list[_Commit], now: float, *, done: bool) -> WorkerStatus:
    recent = sorted(commits, key=lambda commit: commit.time)[-RECENT:]
    rate = sum(commit.count for commit in recent) / max(sum(commit.seconds for commit in recent), 1e-3)
    age = now - recent[-1].time
    return WorkerStatus(
        worker=worker,
        shards=len(commits),
        images=sum(commit.count for commit in commits),
        images_per_second=rate,
        seconds_since_last=age,
        at_work=not done and age <= max(LATE * max(commit.seconds for commit in commits), PATIENCE),
    )


def _running_first(worker: WorkerStatus) -> tuple[float, str]:
    return (-1.0 if worker.at_work else worker.seconds_since_last), worker.worker
