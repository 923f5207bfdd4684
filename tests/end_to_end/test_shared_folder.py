"""Several commands in one folder: they share the work, and a stop signal leaves the rest to the next."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Di, Fails, Start, WaitFor, finish, makers, posix, tars

from dreamdistill.shared.shards.locks import ShardLocks

EIGHT = ["--teacher", "digits_cnn", "--images", 32, "--shard-size", 4, "--steps", 60]


def at_work(out: Path) -> bool:
    """Whether a shard is being made."""
    if not (out / "manifest.json").exists():
        return False
    with ShardLocks(out) as locks:
        return not locks.all_free()


@pytest.fixture(scope="module")
def eight_tars(run_undisturbed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    run_undisturbed("di-invert", *EIGHT, "--workers", 1, "--out", out)
    return tars(out)


@posix
def test_two_runs_started_together_share_the_work(start: Start, eight_tars: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = [start("di-invert", *EIGHT, "--workers", 1, "--out", out, "--json") for _ in range(2)]
    for code, stdout, stderr in map(finish, processes):
        assert code == 0, stderr
        assert json.loads(stdout)["shards"] == 8  # each run reports all shards, and ends when all are there
    assert tars(out) == eight_tars
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["rounds"]) == 1
    assert sum(makers(out).values()) == 8
    assert not list(out.glob(".*.tmp"))


@posix
def test_runs_with_other_settings_started_together(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = [start("di-invert", *EIGHT, "--seed", seed, "--workers", 1, "--out", out) for seed in (1, 2)]
    results = [finish(process) for process in processes]
    assert sorted(code for code, _, _ in results) == [0, 2]  # the first goes on; the other is refused
    refused = next(stderr for code, _, stderr in results if code == 2)
    assert "holds images of another recipe (differs in seed 1, now 2)" in refused or "seed 2, now 1)" in refused


@posix
def test_a_run_takes_over_the_shard_of_a_killed_one(
    wait_for: WaitFor, start: Start, eight_tars: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, second = (start("di-invert", *EIGHT, "--workers", 1, "--out", out) for _ in range(2))
    wait_for(lambda: bool(makers(out)), first)
    first.kill()
    first.communicate()
    code, _, stderr = finish(second)
    assert code == 0, stderr
    assert tars(out) == eight_tars


@posix
def test_shares(start: Start, eight_tars: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *EIGHT, "--workers", 1, "--out", out, "--json"]
    tasks = [{"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "3"} for rank in range(3)]
    processes = [start(*command, environ=task) for task in tasks]
    shards = []
    for code, stdout, stderr in map(finish, processes):
        assert code == 0, stderr
        assert "of 8 shards (--rank 0 --world 1 makes all)" in stderr
        shards.append(json.loads(stdout)["shards"])
    assert shards == [3, 3, 2]
    assert sorted(makers(out).values()) == [2, 3, 3]
    assert tars(out) == eight_tars
    assert json.loads((out / "_info.json").read_text())["splits"]["train"]["num_samples"] == 32


def test_a_share_without_shards(di: Di, tmp_path: Path) -> None:
    command = ["di-invert", *EIGHT[:2], "--images", 4, "--steps", 2, "--out", tmp_path / "out", "--json"]
    code, stdout, stderr = di(*command, "--rank", 5, "--world", 6)
    assert code == 0, stderr
    assert json.loads(stdout)["images"] == 0


def test_shares_do_not_overwrite(fails: Fails, shards: Path) -> None:
    command = ["di-invert", "--teacher", "digits_cnn", "--out", shards, "--overwrite", "--rank", 0, "--world", 2]
    fails(*command, code=2, says=["--overwrite with 2 shares", "delete"])
    assert len(tars(shards)) == 2


@posix
def test_overwrite_is_refused_during_another_run(wait_for: WaitFor, start: Start, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *EIGHT, "--steps", 4000, "--workers", 1, "--out", out)
    try:
        wait_for(lambda: at_work(out), process)
        command = ["di-invert", "--teacher", "digits_cnn", "--overwrite", "--out", out]
        fails(*command, code=2, says=["another di-invert is at work", "--overwrite"])
    finally:
        process.kill()
        process.communicate()


# Stop signals


@posix
@pytest.mark.parametrize(("workers", "grace"), [(1, 60), (2, 0)])
def test_grace(wait_for: WaitFor, start: Start, tmp_path: Path, workers: int, grace: int) -> None:
    out = tmp_path / "out"
    command = [*EIGHT, "--steps", 400, "--workers", workers, "--out", out]
    process = start("di-invert", *command, "--grace", grace)
    wait_for(lambda: bool(makers(out)), process)
    before = sum(makers(out).values())
    os.kill(process.pid, signal.SIGUSR2)
    code, _, stderr = finish(process)
    assert code == 75, stderr
    assert "run the same command again" in stderr.splitlines()[-1]
    after = sum(makers(out).values())
    assert after < 8
    if grace:
        assert after > before  # the shards that had begun were finished
    assert not list(out.glob(".*.tmp"))


@posix
def test_a_second_signal_ends_the_run_at_once(wait_for: WaitFor, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *EIGHT, "--steps", 100000, "--workers", 2, "--out", out)
    wait_for(lambda: at_work(out), process)
    begun = time.monotonic()
    for pause in (0, 0.2, 2.5):  # SLURM sends the first two together; the third is a signal of its own
        time.sleep(pause)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
    code, _, stderr = finish(process)
    assert code == 75, stderr
    assert time.monotonic() - begun < 15
