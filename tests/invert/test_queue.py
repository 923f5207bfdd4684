"""Which shards the queue hands out, and which it tries again, waits for and gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamdistill.invert import queue as module
from dreamdistill.invert.job import Outcome
from dreamdistill.invert.queue import TRIES, ShardQueue
from dreamdistill.shared.core.errors import DreamError, PartialError
from dreamdistill.shared.shards.manifest import ShardPlan
from dreamdistill.shared.shards.records import read_failures, shard_path

PLANS = [ShardPlan(number=number, first_image=4 * number, count=4, round="0" * 64, format="png") for number in range(3)]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def queue(tmp_path: Path, lines: list[str]) -> ShardQueue:
    return ShardQueue(tmp_path, PLANS, stopping=lambda: False, log=lines.append)


def take(queue: ShardQueue, worker: int = 0) -> int | None:
    plan = queue.next(worker)
    return plan.number if plan else None


def made(number: int) -> Outcome:
    return Outcome(number=number, fate="made")


def test_each_shard_is_handed_out_once(queue: ShardQueue) -> None:
    assert [take(queue) for _ in range(4)] == [0, 1, 2, None]
    assert not queue.finished
    for plan in PLANS:
        queue.complete(made(plan.number))
    assert queue.finished
    assert not queue.failures


def test_a_lost_shard_goes_to_another_worker_first(queue: ShardQueue) -> None:
    assert take(queue, worker=1) == 0
    assert queue.requeue(1, "its worker was killed") == [0]
    assert [take(queue, worker=1), take(queue, worker=1)] == [1, 2]
    assert take(queue, worker=0) == 0


def test_the_only_worker_left_gets_its_lost_shard_again(queue: ShardQueue) -> None:
    assert take(queue, worker=0) == 0
    for worker in (1, 2):
        take(queue, worker=worker)
    queue.requeue(0, "its worker was killed")
    assert take(queue, worker=0) == 0


def test_every_shard_of_a_lost_worker_is_requeued_and_no_other(queue: ShardQueue) -> None:
    assert [take(queue, worker=1), take(queue, worker=1), take(queue, worker=0)] == [0, 1, 2]
    assert queue.requeue(1, "its worker was killed") == [0, 1]
    queue.complete(made(2))
    assert not queue.finished
    assert sorted(number for number in (take(queue), take(queue)) if number is not None) == [0, 1]


def test_a_shard_lost_too_often_is_given_up_and_recorded(queue: ShardQueue, tmp_path: Path, lines: list[str]) -> None:
    for _ in range(TRIES):
        number = take(queue)
        while number != 0:  # the others come first
            assert number is not None
            queue.complete(made(number))
            number = take(queue)
        assert queue.requeue(0, "its worker was killed") == [0]
    assert queue.finished
    assert queue.failures[0].reason == "its worker was killed, 3 times"
    assert read_failures(tmp_path, PLANS) == queue.failures
    assert lines == [
        f"shard 000000: its worker was killed; trying it again ({tries} of 3 tries)" for tries in range(1, TRIES)
    ]


def test_a_shard_committed_before_the_death_is_not_lost(queue: ShardQueue, tmp_path: Path, lines: list[str]) -> None:
    assert take(queue) == 0
    for suffix in ("tar", "idx", "json"):
        shard_path(tmp_path, 0, suffix).touch()
    assert queue.requeue(0, "its worker was killed") == []
    assert [take(queue), take(queue), take(queue)] == [1, 2, None]
    assert not lines


def test_a_worker_that_dies_without_a_shard_costs_no_try(queue: ShardQueue, lines: list[str]) -> None:
    assert take(queue, worker=0) == 0
    assert queue.requeue(1, "its worker was killed") == []
    assert lines == ["worker 1 ended and had no shard: its worker was killed"]


def test_a_busy_shard_is_asked_for_again_later(queue: ShardQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert take(queue) == 0
    queue.complete(Outcome(number=0, fate="busy"))
    for number in (1, 2):
        assert take(queue) == number
        queue.complete(made(number))
    assert take(queue) is None
    assert not queue.finished
    now[0] = 1.5
    assert take(queue) == 0


def test_stopping_begins_no_shard_and_waits_for_those_that_run(tmp_path: Path) -> None:
    stop: list[int] = []
    queue = ShardQueue(tmp_path, PLANS, stopping=lambda: bool(stop), log=print)
    assert take(queue) == 0
    stop.append(1)
    assert take(queue) is None
    assert not queue.finished
    queue.complete(made(0))
    assert queue.finished


def test_a_diverged_shard_is_given_up_at_once(queue: ShardQueue) -> None:
    assert take(queue) == 0
    queue.complete(Outcome(number=0, fate="diverged", reason="NaN"))
    assert queue.failures[0].reason == "NaN"
    assert [take(queue), take(queue), take(queue)] == [1, 2, None]


def test_an_unwritable_shard_ends_the_run(queue: ShardQueue) -> None:
    take(queue)
    with pytest.raises(OSError, match="No space left"):
        queue.complete(Outcome(number=0, fate="unwritable", error=OSError(28, "No space left on device")))


def test_the_error_without_workers_depends_on_what_is_made(queue: ShardQueue) -> None:
    assert type(queue.no_workers_left("RuntimeError")) is DreamError
    take(queue)
    queue.complete(made(0))
    assert type(queue.no_workers_left("RuntimeError")) is PartialError


def test_a_line_of_several_workers_is_logged_once(queue: ShardQueue, lines: list[str]) -> None:
    for _ in range(2):
        queue.log_once("compiled the step")
    assert lines == ["compiled the step"]
