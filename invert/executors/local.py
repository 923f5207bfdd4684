"""One worker in this process, which uses the teacher that is loaded already."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Sequence

import torch

from ...shared.core.errors import named
from ...shared.models.classifier import Classifier
from ...shared.shards.manifest import ShardPlan
from ..job import Job, Outcome
from ..worker import Worker
from .base import Handle, LogLine, Progressed, ShardDone, WorkerLost

TICK = 0.1  # seconds


class LocalExecutor:
    """A worker that works while :meth:`wait` is called, in the calling thread, so that signals interrupt it.

    Args:
        teacher: loaded on ``device``.
    """

    def __init__(self, job: Job, device: torch.device, teacher: Classifier) -> None:
        self._threads = torch.get_num_threads()  # the worker changes it, and the caller may want it back
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()  # the thread that writes puts them there
        self._handle: Handle = lambda event: None
        self._plan: ShardPlan | None = None
        self.workers: tuple[int, ...] = (0,)
        self._worker = Worker(
            job,
            device,
            teacher,
            report=self._outcomes.put,
            progress=lambda number, fraction, losses: self._handle(
                Progressed(number=number, fraction=fraction, losses=losses)
            ),
            log=lambda line: self._handle(LogLine(text=line)),
        )

    def idle(self) -> Sequence[int]:
        return self.workers if self._plan is None else ()

    def submit(self, worker: int, plan: ShardPlan) -> None:
        self._plan = plan

    def wait(self, handle: Handle) -> None:
        self._handle = handle
        plan, self._plan = self._plan, None
        lost: WorkerLost | None = None
        try:
            if plan is not None:
                self._worker.make(plan)
            self._worker.check()
        except Exception as error:
            lost = WorkerLost(worker=0, reason=named(error))
            with contextlib.suppress(Exception):  # the shard before this one is not lost if its writing succeeds
                self._worker.flush()
        with contextlib.suppress(queue.Empty):
            if plan is None and lost is None:
                self._done(self._outcomes.get(timeout=TICK))
            while True:
                self._done(self._outcomes.get_nowait())
        if lost is not None:
            handle(lost)

    def restart(self, worker: int) -> None:
        """Nothing to start: the same worker goes on."""

    def drop(self, worker: int) -> None:
        self.workers = ()

    def close(self) -> None:
        self._worker.close()
        torch.set_num_threads(self._threads)

    def _done(self, outcome: Outcome) -> None:
        self._handle(ShardDone(worker=0, outcome=outcome))
