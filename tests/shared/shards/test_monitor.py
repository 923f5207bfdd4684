"""The status of a run from its records: rates, running workers, and records that appear, vanish and change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dreamdistill.shared.core.errors import ConfigError, DreamError
from dreamdistill.shared.models.identity import ClassifierRecord
from dreamdistill.shared.shards.manifest import Manifest, load_manifest
from dreamdistill.shared.shards.monitor import PATIENCE, RECENT, RunMonitor, RunStatus
from dreamdistill.shared.shards.records import CommitRecord, ShardFailure, shard_path, write_failure, write_record

TEACHER = ClassifierRecord(
    name="t", weights=None, sha256="0" * 64, mean=(0.5,), std=(0.5,), image_size=8, num_classes=3, class_names=()
)
NOW = 1_000_000.0  # seconds


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(tmp_path: Path, clock: Clock) -> RunMonitor:
    return RunMonitor(tmp_path, clock=clock)


def plan_round(folder: Path, *, images: int, earlier: Manifest | None = None, seed: int = 0) -> Manifest:
    """Add a round to the manifest, with 10 images per shard."""
    before = earlier or Manifest(teacher=TEACHER, rounds=())
    recipe = {"name": "r", "seed": seed}
    item = before.next_round(recipe=recipe, images=images, shard_size=10, format="png", student=None, batch=10)
    manifest = before.with_round(item)
    manifest.save(folder)
    return manifest


def make(
    folder: Path, number: int, worker: str = "a:1", *, count: int = 10, seconds: float = 5, age: float = 0
) -> None:
    """Make the files of a complete shard: two empty ones and its commit record. ``age`` is in seconds at NOW."""
    for suffix in ("tar", "idx"):
        shard_path(folder, number, suffix).touch()
    none = "0" * 64
    rounds = {plan.number: plan.round for plan in load_manifest(folder).shards()}
    files = {"number": number, "round": rounds.get(number, none), "bytes": 1, "sha256": none, "index_sha256": none}
    quality = {"losses": {}, "agreement": 1.0, "class_loss": 0.1, "clipped": 0.0}
    making = {"seed": 0, "seconds": seconds, "worker": worker, **quality}
    write_record(folder, CommitRecord(count=count, **files, **making))
    os.utime(shard_path(folder, number, "json"), (NOW - age, NOW - age))


def counts(status: RunStatus) -> tuple[int, int, int, int]:
    return status.shards, status.shards_planned, status.images, status.images_planned


def test_rates_and_time_left(monitor: RunMonitor, tmp_path: Path) -> None:
    plan_round(tmp_path, images=95)
    make(tmp_path, 0, "a:1", seconds=5, age=20)
    make(tmp_path, 1, "a:1", seconds=15, age=5)
    make(tmp_path, 9, "b:1", seconds=4, age=10, count=5)
    status = monitor.status()
    assert (status.state, status.teacher) == ("working", "t")
    assert counts(status) == (3, 10, 25, 95)
    assert [(w.worker, w.shards, w.images, w.images_per_second, w.seconds_since_last) for w in status.workers] == [
        ("a:1", 2, 20, 1.0, 5.0),
        ("b:1", 1, 5, 1.25, 10.0),
    ]
    assert status.images_per_second == pytest.approx(2.25)
    assert status.seconds_left == pytest.approx(70 / 2.25)
    assert status.seconds_since_last == 5


def test_the_rate_is_that_of_the_last_few_shards(monitor: RunMonitor, tmp_path: Path) -> None:
    plan_round(tmp_path, images=1000)
    make(tmp_path, 50, seconds=1000, age=500)  # the first that was made, in spite of its number
    for number in range(RECENT):
        make(tmp_path, number, seconds=2, age=100 - number)
    assert monitor.status().workers[0].images_per_second == 5


def test_a_late_worker_is_not_at_work(monitor: RunMonitor, tmp_path: Path, clock: Clock) -> None:
    plan_round(tmp_path, images=100)
    make(tmp_path, 0, "quick:1", seconds=1)
    make(tmp_path, 1, "slow:1", seconds=50)
    status = monitor.status()
    assert (status.at_work, status.images_per_second) == (2, 10.2)
    clock.now += PATIENCE + 1
    status = monitor.status()
    assert [(w.worker, w.at_work) for w in status.workers] == [("slow:1", True), ("quick:1", False)]
    assert (status.state, status.images_per_second) == ("working", 0.2)
    clock.now = NOW + 151
    status = monitor.status()
    assert (status.state, status.at_work, status.images_per_second, status.seconds_left) == ("idle", 0, 0, None)
    assert status.seconds_since_last == 151


def test_a_clock_that_is_behind_gives_no_negative_ages(monitor: RunMonitor, tmp_path: Path, clock: Clock) -> None:
    plan_round(tmp_path, images=100)
    make(tmp_path, 0, "a:1", age=-1000)
    make(tmp_path, 1, "b:1", age=-900)
    make(tmp_path, 2, "c:1", age=-970)
    ages = {w.worker: w.seconds_since_last for w in monitor.status().workers}
    assert ages == {"a:1": 0, "b:1": 100, "c:1": 30}
    clock.now -= 5000
    status = monitor.status()
    assert (status.at_work, status.seconds_since_last) == (2, 0)


def test_shards_that_took_no_time_have_a_rate(monitor: RunMonitor, tmp_path: Path) -> None:
    plan_round(tmp_path, images=100)
    make(tmp_path, 0, seconds=0)
    assert monitor.status().images_per_second == 10_000


def test_states_from_before_the_folder_exists_to_the_end(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "shards"
    monitor = RunMonitor(folder, clock=clock)
    assert monitor.status() == RunStatus(state="no_folder")
    folder.mkdir()
    assert monitor.status() == RunStatus(state="no_manifest")
    plan_round(folder, images=20)
    status = monitor.status()
    assert (status.state, counts(status), status.seconds_since_last) == ("idle", (0, 2, 0, 20), None)
    make(folder, 0)
    assert monitor.status().state == "working"
    make(folder, 1)
    status = monitor.status()
    assert (status.state, counts(status), status.seconds_left, status.at_work) == ("done", (2, 2, 20, 20), 0, 0)
    (folder / "manifest.json").unlink()
    assert monitor.status() == RunStatus(state="no_manifest")


def test_every_round_counts_and_no_other_shard(monitor: RunMonitor, tmp_path: Path) -> None:
    first = plan_round(tmp_path, images=25)
    for number in range(3):
        make(tmp_path, number, count=10 if number < 2 else 5)
    make(tmp_path, 3)  # in no round yet
    assert monitor.status().state == "done"
    assert counts(monitor.status()) == (3, 3, 25, 25)
    plan_round(tmp_path, images=20, earlier=first)
    make(tmp_path, 3)
    status = monitor.status()
    assert (status.state, counts(status)) == ("working", (4, 5, 35, 45))


def test_commit_records_are_read_once_and_again_when_they_are_replaced(
    monitor: RunMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = RunMonitor._read_commit

    def note(self: RunMonitor, number: int, inode: int):
        read.append(number)
        return original(self, number, inode)

    monkeypatch.setattr(RunMonitor, "_read_commit", note)

    def reads() -> list[int]:
        read.clear()
        monitor.status()
        return sorted(read)

    plan_round(tmp_path, images=100)
    for number in range(3):
        make(tmp_path, number)
    assert reads() == [0, 1, 2]
    assert reads() == []
    make(tmp_path, 3)
    assert reads() == [3]
    make(tmp_path, 1, "other:1")  # replaced
    assert reads() == [1]
    assert {w.worker: w.shards for w in monitor.status().workers} == {"a:1": 3, "other:1": 1}
    shard_path(tmp_path, 0, "json").unlink()
    shard_path(tmp_path, 2, "tar").unlink()  # di-invert would make this shard again
    assert reads() == []
    assert counts(monitor.status())[0] == 2
    make(tmp_path, 0, "third:1")
    assert reads() == [0]
    plan_round(tmp_path, images=100, seed=1)  # another run
    for number in (0, 1, 3):
        make(tmp_path, number)
    assert reads() == [0, 1, 3]


def test_records_that_vanish_while_they_are_read(
    monitor: RunMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_round(tmp_path, images=100)
    for number in range(3):
        make(tmp_path, number)
    write_failure(tmp_path, 5, ShardFailure(reason="NaN", worker="a:1"))
    original = RunMonitor._read_commit

    def late(self: RunMonitor, number: int, inode: int):
        shard_path(tmp_path, 1, "json").unlink(missing_ok=True)
        shard_path(tmp_path, 5, "failed").unlink(missing_ok=True)
        return original(self, number, inode)

    monkeypatch.setattr(RunMonitor, "_read_commit", late)
    status = monitor.status()
    assert (status.shards, status.failures) == (2, {})


def test_a_failure_counts_until_its_shard_is_complete(monitor: RunMonitor, tmp_path: Path) -> None:
    plan_round(tmp_path, images=30)
    failure = ShardFailure(reason="ran into NaN", worker="a:1")
    for number in (1, 2, 7):  # the last is in no round
        write_failure(tmp_path, number, failure)
    make(tmp_path, 0)
    assert monitor.status().failures == {1: failure, 2: failure}
    make(tmp_path, 1)
    assert monitor.status().failures == {2: failure}
    other = ShardFailure(reason="ran out of memory", worker="b:1")
    write_failure(tmp_path, 2, other)
    assert monitor.status().failures == {2: other}
    assert monitor.status().as_mapping()["failures"] == [{"shard": 2, "reason": "ran out of memory", "worker": "b:1"}]
    make(tmp_path, 2)
    write_failure(tmp_path, 2, failure)  # a commit record takes precedence
    status = monitor.status()
    assert (status.state, status.failures) == ("done", {})


def test_damaged_records_and_a_file_in_place_of_the_folder(monitor: RunMonitor, tmp_path: Path) -> None:
    plan_round(tmp_path, images=30)
    make(tmp_path, 0)
    monitor.status()
    make(tmp_path, 1)
    shard_path(tmp_path, 1, "json").write_text("{")
    with pytest.raises(DreamError, match=r"000001\.json is damaged"):
        monitor.status()
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DreamError, match=r"manifest\.json is damaged"):
        monitor.status()
    with pytest.raises(ConfigError, match="is a file"):
        RunMonitor(shard_path(tmp_path, 0, "tar")).status()
