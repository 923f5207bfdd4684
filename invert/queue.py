"""What is left to do of a run: shards to hand out, shards in hand, shards to try again, shards given up."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..shared.core.errors import DreamError, PartialError
from ..shared.shards.manifest import ShardPlan
from ..shared.shards.records import ShardFailure, is_whole, write_failure
from .execution import Log
from .worker import Outcome, worker_name

TRIES = 3  # of a shard whose worker died or raised
BROKEN_AFTER = 3  # times in a row, with no shard made in between, that a worker may fail before it is left alone
LOOK_AGAIN = 1.0  # seconds until a shard that another run has in hand is asked for again


class ShardQueue:
    """The shards of a run: which to hand out next, and what became of them.

    Args:
        stopping: tells whether to hand out no more.
        log: called with a line for the user.

    Attributes:
        failures: number -> why it was given up.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan], *, stopping: Callable[[], bool], log: Log) -> None:
        self.folder = folder
        self.failures: dict[int, ShardFailure] = {}
        self._made = 0
        self.stopping = stopping
        self.log = log
        self._said: set[str] = set()
        self._open = deque(plans)
        self._busy: deque[tuple[float, ShardPlan]] = deque()  # when to ask again for those that other runs have
        self._in_hand: dict[int, ShardPlan] = {}
        self._losses: Counter[int] = Counter()
        self._lost_by: dict[int, int] = {}

    @property
    def finished(self) -> bool:
        return not self._in_hand and (self.stopping() or not (self._open or self._busy))

    def next(self, worker: int = 0) -> ShardPlan | None:
        """A shard for this worker, rather one that it has not lost before; None if there is none now."""
        while self._busy and self._busy[0][0] <= time.monotonic():
            self._open.append(self._busy.popleft()[1])
        if self.stopping() or not self._open:
            return None
        place = next((i for i, plan in enumerate(self._open) if self._lost_by.get(plan.number) != worker), 0)
        plan = self._open[place]
        del self._open[place]
        self._in_hand[plan.number] = plan
        return plan

    def settle(self, outcome: Outcome) -> None:
        """Take note of an outcome.

        Raises:
            OSError: the shard could not be written (a full disk, say): nothing else could be either.
        """
        plan = self._in_hand.pop(outcome.number)
        if outcome.error is not None:
            raise outcome.error
        self._made += outcome.fate == "made"
        if outcome.fate == "busy":
            self._busy.append((time.monotonic() + LOOK_AGAIN, plan))
        elif outcome.fate == "diverged":
            self.give_up(outcome.number, outcome.reason)

    def lose(self, numbers: Sequence[int], reason: str, worker: int = 0) -> None:
        """A worker is gone, with these shards in hand: they are tried again, if they have not been too often."""
        for number in numbers:
            plan = self._in_hand.pop(number)
            if is_whole(self.folder, number):  # it died after the commit
                continue
            self._losses[number] += 1
            if self._losses[number] >= TRIES:
                self.give_up(number, f"{reason}, {TRIES} times")
            else:
                self.log(f"shard {number:06d}: {reason}; trying it again ({self._losses[number]} of {TRIES} tries)")
                self._lost_by[number] = worker
                self._open.append(plan)

    def despair(self, reason: str) -> DreamError:
        """What to raise when there is no worker left to go on with."""
        if self._made:
            return PartialError(f"no worker stays alive: {reason}; what is made is kept, run the same command again")
        return DreamError(f"no worker stays alive: {reason}")

    def log_once(self, line: str) -> None:
        """What every worker has to say, the user reads once."""
        if line not in self._said:
            self._said.add(line)
            self.log(line)

    def give_up(self, number: int, reason: str) -> None:
        self._in_hand.pop(number, None)
        self.failures[number] = ShardFailure(reason=reason, worker=worker_name())
        write_failure(self.folder, number, self.failures[number])
