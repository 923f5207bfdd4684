"""Shards shared out: in this process, or among several, one a GPU or N on the CPU."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from ..shared.errors import PartialError
from ..shared.manifest import ShardPlan
from ..shared.teachers import Teacher
from .execution import Log
from .worker import Job, Progress, Worker

_todo: Any = None  # in a worker process: shards to make, then None for each worker
_events: Any = None  # in a worker process: progress and lines for the user


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
        return Worker(job, device, teacher, progress=progress, log=log).make(plans)
    return _make_in_processes(job, plans, workers, device, progress, log)


def _make_in_processes(
    job: Job, plans: Sequence[ShardPlan], workers: int, device: torch.device, progress: Progress, log: Log
) -> list[str]:
    said: set[str] = set()

    def log_once(line: str) -> None:
        if line not in said:  # what all workers have to say, the user reads once
            said.add(line)
            log(line)

    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    events: Any = context.Queue()
    todo: Any = context.Queue()
    for plan in [*plans, *[None] * workers]:
        todo.put(plan)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (todo, events))
    try:
        with _interrupts_wait():
            pending: set[Future[list[str]]] = {
                pool.submit(_work, job, device.type, rank % max(1, torch.cuda.device_count()))
                for rank in range(workers)
            }
        problems: list[str] = []
        while pending:
            finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _relay(events, progress, log_once)
            problems += [problem for future in finished for problem in future.result()]
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
        todo.cancel_join_thread()  # what is left in it, nobody will take
        pool.shutdown(wait=True, cancel_futures=True)
        _relay(events, progress, log_once)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C comes after this; processes started in it inherit the mask, so none dies of it while it still starts."""
    masked = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _start_worker(todo: Any, events: Any) -> None:
    global _todo, _events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent answers it
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _todo, _events = todo, events


def _work(job: Job, device_type: str, gpu: int) -> list[str]:
    """One worker's whole part: shards until there are no more."""
    worker = Worker(
        job,
        torch.device(device_type, gpu) if device_type == "cuda" else torch.device(device_type),
        progress=lambda images, terms: _events.put(("progress", images, terms)),
        log=lambda line: _events.put(("log", line)),
    )
    return worker.make(iter(_todo.get, None))


def _die_with_parent() -> None:
    parent = multiprocessing.process.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def default_workers(device: torch.device, threads: int, cpus: int) -> int:
    """One process a GPU; on the CPU, as many as fill the processors with ``threads`` each."""
    return torch.cuda.device_count() if device.type == "cuda" else max(1, cpus // threads)
