"""Shards shared out: in this process, among several of this machine, or over a Ray cluster."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from ...shared.core.errors import named
from ...shared.core.launch import Place
from ...shared.models.classifier import Classifier
from ...shared.shards.manifest import ShardPlan
from ...shared.shards.records import ShardFailure
from ..execution import Log
from ..queue import BROKEN_AFTER, ShardQueue
from ..worker import Job, Outcome, Progress, Worker
from .processes import make_in_processes
from .ray import make_with_ray

POLL = 0.1  # seconds


def make_shards(
    job: Job,
    plans: Sequence[ShardPlan],
    *,
    engine: str,
    workers: int,
    device: torch.device,
    teacher: Classifier,
    stopping: Callable[[], bool],
    progress: Progress,
    log: Log,
) -> dict[int, ShardFailure]:
    """Make every shard of ``plans`` and return which were given up, and why.

    A shard whose worker dies or raises is tried again elsewhere, twice. One that another run has in hand is waited for,
    and taken over if that run dies.

    Args:
        engine: ``local``, or ``ray``, whose cluster has been joined (:func:`~.ray_cluster.connect`).
        workers: of ``local``; 1 works in this process, several with CUDA take the GPUs in turn.
        teacher: loaded on ``device``, used when the work is done in this process.
        stopping: tells whether to begin nothing new and come to an end.
        progress: called with images done since the last call and the loss terms; log: with lines for the user.

    Raises:
        OSError: a shard cannot be written (a full disk, say): nothing else could be either.
        DreamError: no worker stays alive.
    """
    todo = ShardQueue(job.folder, plans, stopping=stopping, log=log)
    if engine == "ray":
        make_with_ray(job, todo, device=device, progress=progress)
    elif workers == 1:
        _make_here(job, todo, device=device, teacher=teacher, progress=progress, log=log)
    else:
        make_in_processes(job, todo, workers=workers, device=device, progress=progress)
    return todo.failures


def default_workers(device: torch.device, threads: int, cpus: int, place: Place) -> int:
    """One process a GPU; on the CPU, as many as fill the processors with ``threads`` each.

    Processes of one launch on the same machine have one GPU each, and divide the processors.
    """
    if device.type == "cuda":
        return 1 if place.local_world > 1 else torch.cuda.device_count()
    return max(1, cpus // place.local_world // threads)


def _make_here(
    job: Job, todo: ShardQueue, *, device: torch.device, teacher: Classifier, progress: Progress, log: Log
) -> None:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    in_hand: set[int] = set()
    broken = 0

    def settle(outcome: Outcome) -> None:
        nonlocal broken
        broken = 0
        in_hand.discard(outcome.number)
        todo.settle(outcome)

    def plans() -> Iterator[ShardPlan]:
        while True:
            while not outcomes.empty():
                settle(outcomes.get())
            if (plan := todo.next()) is not None:
                in_hand.add(plan.number)
                yield plan
            elif todo.finished:
                return
            else:
                time.sleep(POLL)

    worker = Worker(job, device, teacher, progress=progress, log=log)
    while not todo.finished:
        try:
            worker.make(plans(), outcomes.put)
        except OSError:
            raise
        except Exception as error:
            while not outcomes.empty():
                settle(outcomes.get())
            broken += 1
            reason = named(error)
            todo.lose(list(in_hand), reason)
            in_hand.clear()
            if broken >= BROKEN_AFTER and not todo.finished:
                raise todo.despair(reason) from error
