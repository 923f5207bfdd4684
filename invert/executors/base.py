"""What every executor does, and the one loop that makes shards with it.

An executor has workers: this process, processes of this machine, or tasks of a cluster. It starts shards and tells what
happens to them. The loop decides the rest, so that all executors follow the same rules: the queue counts the tries of a
shard, and a worker that fails several times in a row is not started again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...shared.shards.manifest import ShardPlan
from ..job import Outcome, ShardProgress
from ..queue import ShardQueue

BROKEN_AFTER = 3  # failures of a worker in a row, with no shard made in between, after which it is not started again


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """The fraction of a shard that is optimised, 0 to 1, and the latest loss terms."""

    number: int
    fraction: float
    losses: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line for the user."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardDone:
    """A worker is done with a shard."""

    worker: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker died or raised an exception, and every shard that it had is lost."""

    worker: int
    reason: str


Event = Progressed | LogLine | ShardDone | WorkerLost
Handle = Callable[[Event], None]


class Executor(Protocol):
    """Workers, known by numbers from 0, that make shards."""

    @property
    def workers(self) -> Collection[int]:
        """The numbers of all workers that were not dropped, lost ones included."""
        ...

    def idle(self) -> Sequence[int]:
        """The workers that can take a shard now. One may take its next shard while it still writes the last."""
        ...

    def submit(self, worker: int, plan: ShardPlan) -> None:
        """Give a shard to an idle worker."""
        ...

    def wait(self, handle: Handle) -> None:
        """Wait until something happens, or a short time passes, and call ``handle`` with each event.

        ``handle`` runs in the thread that called this, and may raise.
        """
        ...

    def restart(self, worker: int) -> None:
        """Start a lost worker again."""
        ...

    def drop(self, worker: int) -> None:
        """Do not start a lost worker again: it is never idle from now on."""
        ...

    def close(self) -> None:
        """End all workers. Shards that are not committed by then are not made."""
        ...


def run_shards(queue: ShardQueue, executor: Executor, *, progress: ShardProgress) -> None:
    """Make the shards of a queue.

    A shard whose worker is lost is tried again, by another worker if there is one. A shard that another run is making
    is waited for, and made here if that run ends without it.

    Args:
        progress: called with the number of a shard, the fraction of it that is done, and the loss terms. The fraction
            goes back to 0 when the shard is lost or given up, and is 1 when it is made.

    Raises:
        OSError: a shard cannot be written (the disk is full, say), and neither could the others.
        DreamError: no worker stays alive.
    """
    failures: Counter[int] = Counter()  # of each worker, in a row

    def handle(event: Event) -> None:
        match event:
            case Progressed():
                progress(event.number, event.fraction, event.losses)
            case LogLine():
                queue.log_once(event.text)
            case ShardDone():
                made = event.outcome.fate == "made"
                if made:
                    failures[event.worker] = 0
                progress(event.outcome.number, 1.0 if made else 0.0, {})
                queue.complete(event.outcome)
            case WorkerLost():
                lost(event.worker, event.reason)

    def lost(worker: int, reason: str) -> None:
        failures[worker] += 1
        for number in queue.requeue(worker, reason):
            progress(number, 0.0, {})
        if failures[worker] < BROKEN_AFTER:
            if not queue.stopping():
                executor.restart(worker)
            return
        executor.drop(worker)
        if not executor.workers and not queue.finished:
            raise queue.no_workers_left(reason)
        queue.log(f"worker {worker} failed {BROKEN_AFTER} times in a row and is not started again")

    while not queue.finished:
        for worker in executor.idle():
            if (plan := queue.next(worker)) is not None:
                executor.submit(worker, plan)
        executor.wait(handle)
