"""Shards as tasks of a Ray cluster, whose nodes may join and leave; all see the shard folder under the same path."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import torch

from ...shared.core.errors import ConfigError, DreamError, named, one_line
from ...shared.core.signals import handlers_kept
from ...shared.shards.manifest import ShardPlan
from ...shared.shards.records import is_whole
from ..execution import Log
from ..queue import TRIES, ShardQueue
from ..worker import Job, Outcome, Progress, Worker

TICK = 0.5  # seconds
LINE = 250  # characters of a message of Ray's
CONNECT_WITHIN = 10.0  # seconds
VISIBLE_AFTER = 60.0  # seconds that a network file system may take to show another machine's file

_worker: tuple[Job, Worker] | None = None  # in a Ray worker process, which makes many shards of one job
_lines: list[str] = []


def make_with_ray(job: Job, todo: ShardQueue, *, device: torch.device, progress: Progress) -> None:
    """Make each shard in a task of its own, with one GPU or the job's CPU threads; then leave the cluster.

    Ray runs a task again, up to twice, if its process or its node dies, or if it raises.

    Args:
        device: what kind the tasks use (see :func:`connect`).

    Raises:
        OSError: a shard cannot be written.
        DreamError: a task's shard is not in the folder as this machine sees it.
    """
    ray: Any = importlib.import_module("ray")
    needs: dict[str, Any] = {"num_gpus": 1} if device.type == "cuda" else {"num_cpus": job.threads}
    task = ray.remote(_make_one).options(**needs, max_retries=TRIES - 1, retry_exceptions=True)
    running: dict[Any, ShardPlan] = {}
    with contextlib.redirect_stdout(_Chatter(todo.log_once)), _leaving(ray):
        while not todo.finished:
            room = _room(ray, needs)
            while len(running) <= room and (plan := todo.next()) is not None:  # one waits, so that the cluster may grow
                running[task.remote(job, plan, device.type, os.getcwd())] = plan
            if room == 0:
                todo.log_once("waiting for a node with " + ("a GPU" if "num_gpus" in needs else f"{job.threads} CPUs"))
            finished, _ = ray.wait(list(running), timeout=TICK) if running else ([], [])
            for reference in finished:
                plan = running.pop(reference)
                try:
                    outcome, lines = ray.get(reference)
                except ray.exceptions.RayError as error:
                    todo.give_up(plan.number, f"{_cause(error)}, {TRIES} times")
                    continue
                for line in lines:
                    todo.log_once(line)
                if outcome.fate == "made":
                    _check(job, plan)
                    progress(plan.count, {})
                todo.settle(outcome)
            if not running:
                time.sleep(TICK)


def connect(address: str | None) -> torch.device:
    """Join a Ray cluster; return the kind of device that its tasks can have.

    Args:
        address: of a running cluster (``auto``, ``host:6379``, ``ray://...``); None starts one on this machine.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'dreamdistill[ray]'") from error
    local = {} if address else {"include_dashboard": False}
    try:
        if match := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address or ""):
            socket.create_connection((match[1], int(match[2])), timeout=CONNECT_WITHIN).close()  # Ray tries for minutes
        with handlers_kept():  # Ray has a handler of its own for SIGTERM, which ends the process on the spot
            ray.init(address=address or "local", logging_level="ERROR", log_to_driver=False, **local)
    except Exception as error:
        raise ConfigError(f"cannot join a Ray cluster at {address or 'this machine'}: {one_line(error)}") from error
    return torch.device("cuda" if ray.cluster_resources().get("GPU") else "cpu")


class _Chatter(io.TextIOBase):
    """What Ray prints on stdout, which is for results: the first line of each message goes to the user's lines."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, text: str, /) -> int:
        if line := re.sub(r"\x1b\[[0-9;]*m", "", text).strip().partition("\n")[0]:  # without its colours
            self._log(line[:LINE])
        return len(text)


@contextlib.contextmanager
def _leaving(ray: Any) -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()  # which ends what still runs


def _room(ray: Any, needs: dict[str, Any]) -> int:
    """Tasks that the cluster, as it is now, can run at the same time."""
    resource, amount = ("GPU", needs["num_gpus"]) if "num_gpus" in needs else ("CPU", needs["num_cpus"])
    return int(ray.cluster_resources().get(resource, 0) // amount)


def _cause(error: Any) -> str:
    cause = getattr(error, "cause", None) or error  # what the task raised, or that its process or node is gone
    return named(cause)


def _check(job: Job, plan: ShardPlan) -> None:
    deadline = time.monotonic() + VISIBLE_AFTER
    while not is_whole(job.folder, plan.number):
        if time.monotonic() > deadline:
            raise DreamError(
                f"shard {plan.number:06d} was made on a node of the Ray cluster, and is not in {job.folder} as"
                f" {socket.gethostname()} sees it: all nodes must share the folder, under the same path"
            )
        time.sleep(TICK)


def _make_one(job: Job, plan: ShardPlan, device_type: str, cwd: str) -> tuple[Outcome, list[str]]:
    """A task: one shard, and lines for the user. The process keeps the teacher, and what was compiled, for the next."""
    global _worker
    if _worker is None or _worker[0] != job:
        os.chdir(cwd)  # paths of the job may be relative
        _worker = job, Worker(job, torch.device(device_type), progress=lambda images, terms: None, log=_lines.append)
    outcomes: list[Outcome] = []
    _worker[1].make([plan], outcomes.append)
    lines = list(_lines)
    _lines.clear()
    return outcomes[0], lines
