"""What is handed out, tried again, waited for and given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamdistill.invert import queue as module
from dreamdistill.invert.queue import TRIES, ShardQueue
from dreamdistill.invert.worker import Outcome
from dreamdistill.shared.shards.manifest import ShardPlan
from dreamdistill.shared.shards.records import read_failures, shard_path

PLANS = [ShardPlan(number=number, first_image=4 * number, count=4) for number in range(3)]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def todo(tmp_path: Path, lines: list[str]) -> ShardQueue:
    return ShardQueue(tmp_path, PLANS, stopping=lambda: False, log=lines.append)


def take(todo: ShardQueue, worker: int = 0) -> int | None:
    plan = todo.next(worker)
    return plan.number if plan else None


def made(number: int) -> Outcome:
    return Outcome(number=number, fate="made")


def test_each_shard_is_handed_out_once(todo: ShardQueue) -> None:
    assert [take(todo) for _ in range(4)] == [0, 1, 2, None]
    assert not todo.finished
    for plan in PLANS:
        todo.settle(made(plan.number))
    assert todo.finished
    assert not todo.failures


def test_a_lost_shard_goes_to_another_worker_first(todo: ShardQueue) -> None:
    assert take(todo, worker=1) == 0
    todo.lose([0], "its worker was killed", worker=1)
    assert [take(todo, worker=1), take(todo, worker=1)] == [1, 2]
    assert take(todo, worker=0) == 0


def test_the_only_worker_left_gets_its_lost_shard_again(todo: ShardQueue) -> None:
    for _ in PLANS:
        take(todo)
    todo.lose([0], "its worker was killed", worker=0)
    assert take(todo, worker=0) == 0


def test_a_shard_lost_too_often_is_given_up_and_marked(todo: ShardQueue, tmp_path: Path, lines: list[str]) -> None:
    for _ in range(TRIES):
        number = take(todo)
        while number != 0:  # the others wait their turn
            assert number is not None
            todo.settle(made(number))
            number = take(todo)
        todo.lose([0], "its worker was killed")
    assert todo.finished
    assert todo.failures[0].reason == "its worker was killed, 3 times"
    assert read_failures(tmp_path, PLANS) == todo.failures
    assert [line for line in lines if "trying it again" in line] == lines
    assert len(lines) == TRIES - 1


def test_a_shard_committed_before_the_death_is_not_lost(todo: ShardQueue, tmp_path: Path, lines: list[str]) -> None:
    assert take(todo) == 0
    for suffix in ("tar", "idx", "json"):
        shard_path(tmp_path, 0, suffix).touch()
    todo.lose([0], "its worker was killed")
    assert [take(todo), take(todo), take(todo)] == [1, 2, None]
    assert not lines


def test_a_busy_shard_is_asked_for_again_later(todo: ShardQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert take(todo) == 0
    todo.settle(Outcome(number=0, fate="busy"))
    for number in (1, 2):
        assert take(todo) == number
        todo.settle(made(number))
    assert take(todo) is None
    assert not todo.finished
    now[0] = 1.5
    assert take(todo) == 0


def test_stopping_hands_out_no_more_and_waits_for_what_is_in_hand(tmp_path: Path) -> None:
    stop: list[int] = []
    todo = ShardQueue(tmp_path, PLANS, stopping=lambda: bool(stop), log=print)
    assert take(todo) == 0
    stop.append(1)
    assert take(todo) is None
    assert not todo.finished
    todo.settle(made(0))
    assert todo.finished


def test_what_cannot_be_written_ends_the_run(todo: ShardQueue) -> None:
    take(todo)
    with pytest.raises(OSError, match="No space left"):
        todo.settle(Outcome(number=0, fate="unwritable", error=OSError(28, "No space left on device")))
