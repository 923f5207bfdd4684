"""The loop that all executors share, with workers that exist in this file only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dreamdistill.invert import queue as queue_module
from dreamdistill.invert.executors.base import (
    BROKEN_AFTER,
    Handle,
    LogLine,
    Progressed,
    ShardDone,
    WorkerLost,
    run_shards,
)
from dreamdistill.invert.job import Outcome
from dreamdistill.invert.queue import ShardQueue
from dreamdistill.shared.core.errors import DreamError, PartialError
from dreamdistill.shared.shards.manifest import ShardPlan

Act = Callable[[int, int], Outcome | str]
"""What happens to a shard on a worker: its outcome, or the reason why the worker is lost."""


class FakeExecutor:
    """Workers that do as ``act`` says. They end their shards in the order in which they got them."""

    def __init__(self, workers: int, act: Act) -> None:
        self.workers = set(range(workers))
        self.act = act
        self.alive = set(self.workers)
        self.running: dict[int, ShardPlan] = {}
        self.submitted: list[tuple[int, int]] = []  # worker, shard
        self.restarts: Counter[int] = Counter()

    def idle(self) -> Sequence[int]:
        return [worker for worker in sorted(self.alive) if worker not in self.running]

    def submit(self, worker: int, plan: ShardPlan) -> None:
        assert worker in self.idle()
        self.running[worker] = plan
        self.submitted.append((worker, plan.number))

    def wait(self, handle: Handle) -> None:
        if not self.running:
            return
        worker = next(iter(self.running))
        number = self.running.pop(worker).number
        handle(Progressed(number=number, fraction=0.5, losses={"class": 1.0}))
        handle(LogLine(text="compiled the step"))
        result = self.act(worker, number)
        if isinstance(result, Outcome):
            handle(ShardDone(worker=worker, outcome=result))
        else:
            self.alive.discard(worker)
            handle(WorkerLost(worker=worker, reason=result))

    def restart(self, worker: int) -> None:
        assert worker not in self.alive
        self.alive.add(worker)
        self.restarts[worker] += 1

    def drop(self, worker: int) -> None:
        assert worker not in self.alive
        self.workers.remove(worker)

    def close(self) -> None:
        pass


def made(worker: int, number: int) -> Outcome:
    return Outcome(number=number, fate="made")


class Run:
    """A run of the loop, and what it reported."""

    def __init__(self, folder: Path, *, shards: int, workers: int, act: Act, stopping: Callable[[], bool]) -> None:
        plans = [
            ShardPlan(number=number, first_image=4 * number, count=4, round="0" * 64, format="png")
            for number in range(shards)
        ]
        self.lines: list[str] = []
        self.progress: list[tuple[int, float]] = []
        self.queue = ShardQueue(folder, plans, stopping=stopping, log=self.lines.append)
        self.executor = FakeExecutor(workers, act)

    def go(self) -> None:
        run_shards(
            self.queue,
            self.executor,
            progress=lambda number, fraction, losses: self.progress.append((number, fraction)),
        )

    def progress_of(self, number: int) -> list[float]:
        return [fraction for shard, fraction in self.progress if shard == number]


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def run(act: Act, *, shards: int = 4, workers: int = 2, stopping: Callable[[], bool] = lambda: False) -> Run:
        return Run(tmp_path, shards=shards, workers=workers, act=act, stopping=stopping)

    return run


def test_each_shard_is_made_once(start: Start) -> None:
    run = start(made)
    run.go()
    assert sorted(number for _, number in run.executor.submitted) == [0, 1, 2, 3]
    assert {worker for worker, _ in run.executor.submitted} == {0, 1}
    assert run.progress_of(3) == [0.5, 1.0]
    assert run.lines == ["compiled the step"]
    assert not run.queue.failures


def test_a_lost_worker_is_restarted_and_its_shard_goes_to_another(start: Start) -> None:
    run = start(lambda worker, number: "killed" if (worker, number) == (0, 0) else made(worker, number), shards=3)
    run.go()
    assert [worker for worker, number in run.executor.submitted if number == 0] == [0, 1]
    assert run.executor.restarts == {0: 1}
    assert run.progress_of(0) == [0.5, 0.0, 0.5, 1.0]
    assert "shard 000000: killed; trying it again (1 of 3 tries)" in run.lines
    assert not run.queue.failures


def test_a_shard_that_loses_every_worker_is_given_up_after_three_tries(start: Start) -> None:
    run = start(lambda worker, number: "killed" if number == 2 else made(worker, number), shards=8)
    run.go()
    assert sum(number == 2 for _, number in run.executor.submitted) == 3
    assert {number: failure.reason for number, failure in run.queue.failures.items()} == {2: "killed, 3 times"}
    assert run.progress_of(2)[-1] == 0.0
    assert sum(run.executor.restarts.values()) == 3


def test_a_worker_that_fails_three_times_in_a_row_is_not_started_again(start: Start) -> None:
    run = start(lambda worker, number: "no kernel" if worker == 1 else made(worker, number), shards=12)
    run.go()
    assert sum(worker == 1 for worker, _ in run.executor.submitted) == BROKEN_AFTER
    assert run.executor.restarts == {1: BROKEN_AFTER - 1}
    assert "worker 1 failed 3 times in a row and is not started again" in run.lines
    assert run.executor.workers == {0}
    assert not run.queue.failures


def test_a_shard_made_in_between_sets_the_failures_of_a_worker_back(start: Start) -> None:
    seen: Counter[int] = Counter()

    def every_other_try(worker: int, number: int) -> Outcome | str:
        seen[worker] += 1
        return "killed" if seen[worker] % 2 else made(worker, number)

    run = start(every_other_try, shards=8, workers=1)
    run.go()
    assert run.executor.restarts[0] >= BROKEN_AFTER
    assert len(run.queue.failures) < 8


@pytest.mark.parametrize("workers", [1, 3])
def test_the_run_ends_when_no_worker_is_left(start: Start, workers: int) -> None:
    run = start(lambda worker, number: "no kernel for this", shards=20, workers=workers)
    with pytest.raises(DreamError, match="no worker stays alive: no kernel for this") as raised:
        run.go()
    assert type(raised.value) is DreamError
    assert len(run.executor.submitted) == BROKEN_AFTER * workers


def test_when_no_worker_is_left_the_shards_made_before_are_kept(start: Start) -> None:
    run = start(lambda worker, number: "no kernel" if number else made(worker, number), shards=20, workers=1)
    with pytest.raises(PartialError, match="what is made is kept"):
        run.go()


def test_a_diverged_shard_is_given_up_without_a_restart(start: Start) -> None:
    run = start(
        lambda worker, number: Outcome(number=number, fate="diverged", reason="NaN") if number else made(worker, number)
    )
    run.go()
    assert sorted(run.queue.failures) == [1, 2, 3]
    assert run.progress_of(1) == [0.5, 0.0]
    assert not run.executor.restarts


def test_a_busy_shard_is_made_later(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "LOOK_AGAIN", 0.01)
    tries: Counter[int] = Counter()

    def busy_at_first(worker: int, number: int) -> Outcome:
        tries[number] += 1
        return made(worker, number) if tries[number] > 1 else Outcome(number=number, fate="busy")

    run = start(busy_at_first, shards=2)
    run.go()
    assert tries == {0: 2, 1: 2}
    assert run.progress_of(0) == [0.5, 0.0, 0.5, 1.0]


def test_an_unwritable_shard_ends_the_run(start: Start) -> None:
    full = OSError(28, "No space left on device")
    run = start(lambda worker, number: Outcome(number=number, fate="unwritable", error=full))
    with pytest.raises(OSError, match="No space left"):
        run.go()


def test_a_stop_begins_no_shard_and_restarts_no_worker(start: Start) -> None:
    stop: list[int] = []

    def stop_and_die(worker: int, number: int) -> Outcome | str:
        stop.append(number)
        return "killed" if worker == 0 else made(worker, number)

    run = start(stop_and_die, shards=8, stopping=lambda: bool(stop))
    run.go()
    assert run.executor.submitted == [(0, 0), (1, 1)]
    assert not run.executor.restarts
    assert not run.queue.failures
