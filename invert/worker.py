"""A worker: makes one shard after another on one device, and writes each while it optimises the next."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ..shared.core.device import make_deterministic
from ..shared.models.classifier import Classifier
from ..shared.shards.locks import ShardLocks
from ..shared.shards.manifest import ShardPlan
from ..shared.shards.records import is_complete
from .engine import DivergedError
from .execution import Log
from .job import Job, Outcome, Report, ShardProgress
from .shard import ShardImages, ShardMaker


class Worker:
    """Makes shards on one device.

    A shard is locked while it is made, so that no other run makes it too.

    Args:
        teacher: already loaded, or None to load it as the job describes it.
        report: called with the outcome of each shard, from this thread or from the one that writes.
        progress: called with the progress of the shard that is optimised.
        log: called with a line for the user.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(
        self,
        job: Job,
        device: torch.device,
        teacher: Classifier | None = None,
        *,
        report: Report,
        progress: ShardProgress,
        log: Log,
    ) -> None:
        torch.set_num_threads(job.threads)
        make_deterministic()
        self.maker = ShardMaker(job, device, teacher, log=log)
        self._folder = job.folder
        self._report = report
        self._progress = progress
        self._resources = contextlib.ExitStack()
        self._locks = self._resources.enter_context(ShardLocks(job.folder))
        # A new thread has torch's default number of threads, not its parent's, and labels are sums that depend on it.
        writer = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(job.threads,))
        self._writer = self._resources.enter_context(writer)
        self._writing: Future[None] | None = None

    def make(self, plan: ShardPlan) -> None:
        """Optimise a shard, and hand it to the thread that encodes, labels and writes it.

        While that thread writes, the next call optimises. At most one shard waits to be written.

        Raises:
            Exception: from this shard, or from the writing of an earlier one. It has no outcome.
        """
        if not self._locks.try_lock(plan.number):
            self._report(Outcome(number=plan.number, fate="busy"))
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._locks.unlock, plan.number)
            if is_complete(self._folder, plan.number):  # another run made it since the shards were planned
                outcome = Outcome(number=plan.number, fate="made")
            else:
                try:
                    images = self.maker.optimise(plan, self._progress)
                except DivergedError as error:
                    outcome = Outcome(number=plan.number, fate="diverged", reason=str(error))
                else:
                    self.flush()
                    self._writing = self._writer.submit(self._write, images)
                    stack.pop_all()  # the writing thread unlocks the shard
                    return
        self._report(outcome)

    def check(self) -> None:
        """Raise what the writing of the last shard raised, if it has ended with an exception."""
        if self._writing is not None and self._writing.done():
            self.flush()

    def flush(self) -> None:
        """Wait until the last shard is written, and raise what that raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait until the last shard is written, and unlock everything."""
        self._resources.close()

    def _write(self, images: ShardImages) -> None:
        number = images.plan.number
        try:
            self.maker.write(images)
            outcome = Outcome(number=number, fate="made")
        except DivergedError as error:
            outcome = Outcome(number=number, fate="diverged", reason=str(error))
        except OSError as error:
            outcome = Outcome(number=number, fate="unwritable", reason=str(error), error=error)
        finally:
            self._locks.unlock(number)
        self._report(outcome)
