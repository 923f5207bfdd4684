"""Shards as tasks of a Ray cluster, whose nodes may join and leave. All nodes see the shard folder under one path."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import socket
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from ...shared.core.errors import ConfigError, DreamError, named, one_line
from ...shared.core.signals import handlers_kept
from ...shared.shards.manifest import ShardPlan
from ...shared.shards.records import is_complete
from ..job import Job, Outcome
from ..worker import Worker
from .base import Handle, LogLine, ShardDone, WorkerLost

TICK = 0.5  # seconds
LINE = 250  # characters of a message from Ray
CONNECT_WITHIN = 10.0  # seconds
VISIBLE_AFTER = 60.0  # seconds that a network file system may take to show a file of another machine


class RayExecutor:
    """Each shard is a task with one GPU or the job's CPU threads. A worker is a task that can run at the same time.

    One task more than the cluster has room for is submitted, so that a cluster that grows on demand does. Ray itself
    tries nothing again: its failures are reported as lost workers.

    Args:
        device: the kind of device that the tasks use (see :func:`cluster`, within which this works).
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self._ray: Any = importlib.import_module("ray")
        self._job = job
        self._device_type = device.type
        self._needs = {"num_gpus": 1} if device.type == "cuda" else {"num_cpus": job.threads}
        self._task = self._ray.remote(_make_one).options(**self._needs, max_retries=0)
        self._running: dict[Any, tuple[int, ShardPlan]] = {}
        self._largest = 0  # room that the cluster has had
        self._dropped: set[int] = set()

    @property
    def workers(self) -> Collection[int]:
        return [worker for worker in range(self._largest + 1) if worker not in self._dropped]

    def idle(self) -> Sequence[int]:
        room = self._room()
        self._largest = max(self._largest, room)
        busy = {worker for worker, _ in self._running.values()}
        return [worker for worker in self.workers if worker not in busy][: max(0, room + 1 - len(busy))]

    def submit(self, worker: int, plan: ShardPlan) -> None:
        self._running[self._task.remote(self._job, plan, self._device_type, os.getcwd())] = worker, plan

    def wait(self, handle: Handle) -> None:
        """Wait for tasks to end.

        Raises:
            DreamError: a task made its shard, and it is not in the folder as this machine sees it.
        """
        if self._room() == 0:
            needed = "a GPU" if "num_gpus" in self._needs else f"{self._job.threads} CPUs"
            handle(LogLine(text=f"waiting for a node with {needed}"))
        if not self._running:
            time.sleep(TICK)
            return
        ended, _ = self._ray.wait(list(self._running), timeout=TICK)
        for reference in ended:
            worker, plan = self._running.pop(reference)
            try:
                outcome, lines = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                handle(WorkerLost(worker=worker, reason=_cause(error)))
                continue
            for line in lines:
                handle(LogLine(text=line))
            if outcome.fate == "made":
                _wait_until_visible(self._job, plan)
            handle(ShardDone(worker=worker, outcome=outcome))

    def restart(self, worker: int) -> None:
        """Nothing to start: Ray chooses a process for each task."""

    def drop(self, worker: int) -> None:
        self._dropped.add(worker)

    def close(self) -> None:
        """Nothing to end: tasks end when this process leaves the cluster."""

    def _room(self) -> int:
        """Tasks that the cluster, as it is now, can run at the same time."""
        resource, amount = ("GPU", 1) if "num_gpus" in self._needs else ("CPU", self._needs["num_cpus"])
        return int(self._ray.cluster_resources().get(resource, 0) // amount)


def require_ray() -> None:
    """Check that Ray is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--engine ray needs Ray: pip install 'dreamdistill[ray]'")


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[torch.device]:
    """Join a Ray cluster within this context, which yields the kind of device that its tasks can have.

    Args:
        address: of a running cluster (``auto``, ``host:6379``, ``ray://...``); None starts one on this machine.

    Raises:
        ConfigError: there is no cluster at the address.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray sends statistics to its makers
    ray: Any = importlib.import_module("ray")
    local = {} if address else {"include_dashboard": False}
    with contextlib.redirect_stdout(_RayOutput()):
        try:
            if match := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address or ""):
                # Ray itself would try for minutes.
                socket.create_connection((match[1], int(match[2])), timeout=CONNECT_WITHIN).close()
            with handlers_kept():  # Ray's own handler for SIGTERM ends the process at once
                ray.init(address=address or "local", logging_level="ERROR", log_to_driver=False, **local)
        except Exception as error:
            raise ConfigError(f"cannot join a Ray cluster at {address or 'this machine'}: {one_line(error)}") from error
        try:
            yield torch.device("cuda" if ray.cluster_resources().get("GPU") else "cpu")
        finally:
            ray.shutdown()  # which ends the tasks that still run


class _RayOutput(io.TextIOBase):
    """What Ray prints on stdout, which is for results: the first line of each message goes to stderr, once."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def write(self, text: str, /) -> int:
        line = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().partition("\n")[0][:LINE]  # without its colours
        if line and line not in self._printed:
            self._printed.add(line)
            print(line, file=sys.stderr, flush=True)
        return len(text)


def _cause(error: Any) -> str:
    """Why a task failed: the exception that it raised, or that its process or node is gone."""
    return named(getattr(error, "cause", None) or error)


def _wait_until_visible(job: Job, plan: ShardPlan) -> None:
    deadline = time.monotonic() + VISIBLE_AFTER
    while not is_complete(job.folder, plan.number):
        if time.monotonic() > deadline:
            raise DreamError(
                f"shard {plan.number:06d} was made on a node of the Ray cluster, and is not in {job.folder} as"
                f" {socket.gethostname()} sees it: all nodes must share the folder, under the same path"
            )
        time.sleep(TICK)


class _TaskWorker:
    """The worker of a Ray process. It keeps the teacher, and what was compiled, for the next task of the same job."""

    def __init__(self, job: Job, device_type: str) -> None:
        self.job = job
        self._outcomes: list[Outcome] = []
        self._lines: list[str] = []
        self._worker = Worker(
            job,
            torch.device(device_type),
            report=self._outcomes.append,
            progress=lambda number, fraction, losses: None,
            log=self._lines.append,
        )

    def make(self, plan: ShardPlan) -> tuple[Outcome, list[str]]:
        """The outcome of one shard, and lines for the user."""
        self._outcomes.clear()
        self._worker.make(plan)
        self._worker.flush()
        lines = list(self._lines)
        self._lines.clear()
        return self._outcomes[0], lines

    def close(self) -> None:
        self._worker.close()


_worker: _TaskWorker | None = None  # in a Ray process


def _make_one(job: Job, plan: ShardPlan, device_type: str, cwd: str) -> tuple[Outcome, list[str]]:
    """A task: makes one shard."""
    global _worker
    if _worker is not None and _worker.job != job:
        _worker.close()  # a process may have the locks of one folder only
        _worker = None
    if _worker is None:
        os.chdir(cwd)  # paths of the job may be relative
        _worker = _TaskWorker(job, device_type)
    try:
        return _worker.make(plan)
    except Exception:
        _worker.close()  # what raised may be broken, so the next task starts with a new worker
        _worker = None
        raise
