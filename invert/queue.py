"""The shards of a run that are left: which to make next, which to try again, and which to give up."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..shared.core.errors import DreamError, PartialError
from ..shared.shards.manifest import ShardPlan
from ..shared.shards.records import ShardFailure, is_complete, write_failure
from .execution import Log
from .job import Outcome, worker_name

TRIES = 3  # of a shard whose worker died or raised an exception
LOOK_AGAIN = 1.0  # seconds until a shard that another run is making is asked for again


class ShardQueue:
    """The shards of a run. It alone decides on retries: a shard is tried :data:`TRIES` times, by any worker.

    Args:
        stopping: tells whether to begin no more shards.
        log: called with a line for the user.

    Attributes:
        failures: number -> why the shard was given up.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan], *, stopping: Callable[[], bool], log: Log) -> None:
        self.folder = folder
        self.stopping = stopping
        self.log = log
        self.failures: dict[int, ShardFailure] = {}
        self._made = 0
        self._waiting = deque(plans)
        self._busy: deque[tuple[float, ShardPlan]] = deque()  # made by other runs, and when to ask for them again
        self._running: dict[int, tuple[ShardPlan, int]] = {}  # with the worker that makes it
        self._lost: Counter[int] = Counter()
        self._lost_by: dict[int, int] = {}
        self._logged: set[str] = set()

    @property
    def finished(self) -> bool:
        """Whether no shard is being made, and none is left to begin."""
        return not self._running and (self.stopping() or not (self._waiting or self._busy))

    def next(self, worker: int = 0) -> ShardPlan | None:
        """The next shard for a worker, preferably one that it has not lost before; None if there is none now."""
        while self._busy and self._busy[0][0] <= time.monotonic():
            self._waiting.append(self._busy.popleft()[1])
        if self.stopping() or not self._waiting:
            return None
        index = next((i for i, plan in enumerate(self._waiting) if self._lost_by.get(plan.number) != worker), 0)
        plan = self._waiting[index]
        del self._waiting[index]
        self._running[plan.number] = plan, worker
        return plan

    def complete(self, outcome: Outcome) -> None:
        """Record the outcome of a shard that a worker had.

        Raises:
            OSError: the shard could not be written (the disk is full, say), and neither could the others.
        """
        plan, _ = self._running.pop(outcome.number)
        if outcome.error is not None:
            raise outcome.error
        if outcome.fate == "made":
            self._made += 1
        elif outcome.fate == "busy":
            self._busy.append((time.monotonic() + LOOK_AGAIN, plan))
        else:
            self.give_up(outcome.number, outcome.reason)

    def requeue(self, worker: int, reason: str) -> list[int]:
        """Take back the shards of a lost worker: to try them again, or to give up those that were tried often enough.

        Returns:
            The numbers of those that are not made.
        """
        plans = [plan for plan, held_by in self._running.values() if held_by == worker]
        if not plans:
            self.log(f"worker {worker} ended and had no shard: {reason}")
        unmade: list[int] = []
        for plan in plans:
            number = plan.number
            del self._running[number]
            if is_complete(self.folder, number):  # the worker was lost after it had committed the shard
                self._made += 1
                continue
            unmade.append(number)
            self._lost[number] += 1
            if self._lost[number] >= TRIES:
                self.give_up(number, f"{reason}, {TRIES} times")
            else:
                self.log(f"shard {number:06d}: {reason}; trying it again ({self._lost[number]} of {TRIES} tries)")
                self._lost_by[number] = worker
                self._waiting.append(plan)
        return unmade

    def give_up(self, number: int, reason: str) -> None:
        """Count a shard as failed, and record that in the folder."""
        self.failures[number] = ShardFailure(reason=reason, worker=worker_name())
        write_failure(self.folder, number, self.failures[number])

    def no_workers_left(self, reason: str) -> DreamError:
        """The error to raise when no worker is left to go on with."""
        if self._made:
            return PartialError(f"no worker stays alive: {reason}; what is made is kept, run the same command again")
        return DreamError(f"no worker stays alive: {reason}")

    def log_once(self, line: str) -> None:
        """Log a line that every worker may send, the first time that it comes."""
        if line not in self._logged:
            self._logged.add(line)
            self.log(line)
