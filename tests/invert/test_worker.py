"""A worker: writing beside the next optimisation, exceptions, locks, and the executor of this process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.executors.base import run_shards
from dreamdistill.invert.executors.local import LocalExecutor
from dreamdistill.invert.inputs import Inputs, load_inputs
from dreamdistill.invert.job import Outcome
from dreamdistill.invert.plan import Plan, make_plan, place_round
from dreamdistill.invert.queue import ShardQueue
from dreamdistill.invert.shard import ShardImages, ShardMaker
from dreamdistill.invert.worker import Worker
from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.shards.manifest import ShardPlan
from dreamdistill.shared.shards.records import CommitRecord, complete_shards

CPU = torch.device("cpu")
PATIENCE = 60  # seconds


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Inputs, Plan]:
    """Six shards to make."""
    config = InvertConfig(teacher="digits_cnn", changes={"steps": (2,)}, images=24, shard_size=4, out=tmp_path)
    inputs = load_inputs(config)
    return inputs, make_plan(inputs, *place_round(inputs))


@pytest.fixture
def outcomes() -> list[Outcome]:
    return []


@pytest.fixture
def progress() -> list[tuple[int, float]]:
    return []


@pytest.fixture
def worker(
    planned: tuple[Inputs, Plan], outcomes: list[Outcome], progress: list[tuple[int, float]]
) -> Iterator[Worker]:
    inputs, plan = planned
    worker = Worker(
        plan.job,
        CPU,
        inputs.teacher,
        report=outcomes.append,
        progress=lambda number, fraction, losses: progress.append((number, fraction)),
        log=lambda line: None,
    )
    yield worker
    worker.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Writing waits for a permit of this."""
    gate = threading.Semaphore(0)
    write = ShardMaker.write

    def guarded(self: ShardMaker, images: ShardImages) -> CommitRecord:
        assert gate.acquire(timeout=PATIENCE)
        return write(self, images)

    monkeypatch.setattr(ShardMaker, "write", guarded)
    return gate


def all_unlocked(folder: Path) -> bool:
    """As another process sees it: locks do not exclude their own process."""
    code = (
        "import sys; from pathlib import Path; from dreamdistill.shared.shards.locks import ShardLocks\n"
        "with ShardLocks(Path(sys.argv[1])) as locks: sys.exit(not locks.all_free())"
    )
    return subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 0


def test_the_next_shard_is_optimised_while_one_is_written(
    planned: tuple[Inputs, Plan],
    worker: Worker,
    outcomes: list[Outcome],
    progress: list[tuple[int, float]],
    gate: threading.Semaphore,
) -> None:
    first, second, third, *_ = planned[1].pending
    worker.make(first)
    assert (first.number, 1.0) in progress
    assert not outcomes
    thread = threading.Thread(target=worker.make, args=(second,))
    thread.start()
    wait_until(lambda: (second.number, 1.0) in progress)
    assert not outcomes  # the first is not written yet, and the second waits for it
    gate.release()
    thread.join(PATIENCE)
    wait_until(lambda: len(outcomes) == 1)
    gate.release()
    worker.flush()
    assert outcomes == [Outcome(number=number, fate="made") for number in (0, 1)]
    gate.release()
    worker.make(third)
    worker.close()
    assert complete_shards(planned[0].config.out) == {0, 1, 2}


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(PATIENCE * 100):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it did not happen")


def test_progress_of_a_shard_is_absolute_and_never_above_one(
    planned: tuple[Inputs, Plan], worker: Worker, progress: list[tuple[int, float]]
) -> None:
    for plan in planned[1].pending[:2]:
        worker.make(plan)
    for number in (0, 1):
        fractions = [fraction for shard, fraction in progress if shard == number]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_a_shard_that_is_made_already_is_reported_and_not_made_again(
    planned: tuple[Inputs, Plan], worker: Worker, outcomes: list[Outcome], progress: list[tuple[int, float]]
) -> None:
    plan = planned[1].pending[0]
    worker.make(plan)
    worker.flush()
    progress.clear()
    worker.make(plan)
    assert outcomes == [Outcome(number=0, fate="made")] * 2
    assert not progress


def test_an_exception_leaves_no_lock(
    planned: tuple[Inputs, Plan], worker: Worker, outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    first, second, *_ = planned[1].pending
    with monkeypatch.context() as patch:
        patch.setattr(ShardMaker, "optimise", fail)
        with pytest.raises(RuntimeError, match="no kernel"):
            worker.make(first)
    with monkeypatch.context() as patch:
        patch.setattr(ShardMaker, "write", fail)
        worker.make(first)
        with pytest.raises(RuntimeError, match="no kernel"):  # from the writing of the first
            worker.make(second)
    assert all_unlocked(planned[0].config.out)
    worker.make(second)
    worker.flush()
    assert outcomes == [Outcome(number=1, fate="made")]


def test_an_exception_of_the_thread_that_writes_is_noticed_without_a_next_shard(
    planned: tuple[Inputs, Plan], worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(ShardMaker, "write", fail)
    worker.make(planned[1].pending[0])

    def noticed() -> bool:
        try:
            worker.check()
        except RuntimeError:
            return True
        return False

    wait_until(noticed)
    worker.check()  # it is raised once


def run_locally(planned: tuple[Inputs, Plan], plans: tuple[ShardPlan, ...]) -> ShardQueue:
    inputs, plan = planned
    queue = ShardQueue(inputs.config.out, plans, stopping=lambda: False, log=lambda line: None)
    executor = LocalExecutor(plan.job, CPU, inputs.teacher)
    try:
        run_shards(queue, executor, progress=lambda number, fraction, losses: None)
    finally:
        executor.close()
    return queue


def test_the_local_executor_makes_every_shard_and_gives_the_threads_back(planned: tuple[Inputs, Plan]) -> None:
    torch.set_num_threads(2)
    queue = run_locally(planned, planned[1].pending)
    assert not queue.failures
    assert complete_shards(planned[0].config.out) == set(range(6))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("shards", [1, 6])
def test_shards_that_can_never_be_labelled_end_the_run(
    planned: tuple[Inputs, Plan], monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(ShardMaker, "write", fail)
    plans = planned[1].pending[:shards]
    if shards == 1:
        assert run_locally(planned, plans).failures[0].reason == "RuntimeError: no kernel for this, 3 times"
    else:
        with pytest.raises(DreamError, match="no worker stays alive: RuntimeError: no kernel for this"):
            run_locally(planned, plans)
    assert all_unlocked(planned[0].config.out)


def test_what_was_written_before_a_failure_is_not_lost(
    planned: tuple[Inputs, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    optimise = ShardMaker.optimise

    def fail_at_the_second(self: ShardMaker, plan: ShardPlan, *arguments: object) -> ShardImages:
        if plan.number == 1:
            raise RuntimeError("no kernel for this")
        return optimise(self, plan, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardMaker, "optimise", fail_at_the_second)
    queue = run_locally(planned, planned[1].pending)
    assert list(queue.failures) == [1]
    assert complete_shards(planned[0].config.out) == {0, 2, 3, 4, 5}
