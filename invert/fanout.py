"""Shards shared out: in this process, or among several, one a GPU or N on the CPU."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from ..shared.errors import PartialError
from ..shared.manifest import ShardPlan
from ..shared.teachers import Teacher
from .engine import DivergedError
from .worker import Job, Worker

Progress = Callable[[float, dict[str, float]], None]
Log = Callable[[str], None]

_worker: Worker | None = None  # in a worker process: made once, used for every shard that comes
_events: Any = None


def make_shards(
    job: Job,
    plans: Sequence[ShardPlan],
    *,
    workers: int,
    device: torch.device,
    teacher: Teacher,
    progress: Progress,
    log: Log,
) -> list[str]:
    """Make every shard of ``plans`` and return one sentence for each that failed.

    Args:
        workers: processes; 1 works in this one. With CUDA they take the GPUs in turn.
        teacher: loaded on ``device``, used when the work is done in this process.
        progress: called with images done since the last call and the loss terms; log: with lines for the user.

    Raises:
        OSError: a shard cannot be written (a full disk, say): nothing else could be either.
        PartialError: a worker process died.
    """
    if workers == 1:
        worker = Worker(job, device, teacher)
        return [problem for plan in plans if (problem := _attempt(worker, plan, progress, log)) is not None]
    return _make_in_processes(job, plans, workers, device, progress, log)


def _attempt(worker: Worker, plan: ShardPlan, progress: Progress, log: Log) -> str | None:
    try:
        worker.make(plan, progress=progress, log=log)
    except DivergedError as error:
        return str(error)
    return None


def _make_in_processes(
    job: Job, plans: Sequence[ShardPlan], workers: int, device: torch.device, progress: Progress, log: Log
) -> list[str]:
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    events: Any = context.Queue()
    gpus: Any = context.Queue()
    for rank in range(workers):
        gpus.put(rank % max(1, torch.cuda.device_count()))
    pool = ProcessPoolExecutor(workers, context, _start_worker, (job, device.type, gpus, events))
    try:
        pending: set[Future[str | None]] = {pool.submit(_make_one, plan) for plan in plans}
        problems: list[str] = []
        while pending:
            finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _relay(events, progress, log)
            problems += [problem for future in finished if (problem := future.result()) is not None]
        _relay(events, progress, log)
        return problems
    except BrokenProcessPool as error:
        raise PartialError(
            "a worker process died (out of memory?); the finished shards are kept: run the same command again, or with"
            " fewer --workers"
        ) from error
    except BaseException:
        for process in list((pool._processes or {}).values()):  # a shard in hand is dropped, as on any kill
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _relay(events, progress, log)


def _relay(events: Any, progress: Progress, log: Log) -> None:
    while True:
        try:
            kind, *content = events.get_nowait()
        except queue.Empty:
            return
        if kind == "progress":
            progress(*content)
        else:
            log(*content)


def _start_worker(job: Job, device_type: str, gpus: Any, events: Any) -> None:
    global _worker, _events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent answers it
    threading.Thread(target=_die_with_parent, daemon=True).start()
    device = torch.device(device_type, gpus.get()) if device_type == "cuda" else torch.device(device_type)
    _events = events
    _worker = Worker(job, device)


def _make_one(plan: ShardPlan) -> str | None:
    assert _worker is not None
    return _attempt(
        _worker,
        plan,
        lambda images, terms: _events.put(("progress", images, terms)),
        lambda line: _events.put(("log", line)),
    )


def _die_with_parent() -> None:
    parent = multiprocessing.process.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def default_workers(device: torch.device, threads: int, cpus: int) -> int:
    """One process a GPU; on the CPU, as many as fill the processors with ``threads`` each."""
    return torch.cuda.device_count() if device.type == "cuda" else max(1, cpus // threads)
