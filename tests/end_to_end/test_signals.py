"""Signals and kills while the work is under way: what is done stays, and the next run does the rest."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import PATIENCE, Di, Start, WaitFor, complete_shards, contents, posix, temporaries

TWELVE = ["--teacher", "digits_cnn", "--images", 48, "--shard-size", 4, "--steps", 60]


@pytest.fixture(scope="module")
def twelve_tars(run_undisturbed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    run_undisturbed("di-invert", *TWELVE, "--workers", 1, "--out", out)
    return contents(out, "*.tar")


@posix
@pytest.mark.parametrize(("number", "code", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 75, 1)])
def test_signal(
    wait_for: WaitFor,
    di: Di,
    start: Start,
    twelve_tars: dict[str, bytes],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    workers: int,
) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *TWELVE, "--workers", workers, "--out", out)
    wait_for(lambda: complete_shards(out) > 0, process)
    # Ctrl-C goes to the whole foreground group; a batch system's signal may go to the command alone.
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=PATIENCE)

    assert process.returncode == code, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert [line for line in stderr.splitlines() if line.startswith("error: ")] == stderr.splitlines()[-1:]
    assert "run the same command again" in stderr.splitlines()[-1]
    assert 0 < complete_shards(out) < 12
    assert not temporaries(out)

    assert di("di-invert", *TWELVE, "--workers", 1, "--out", out)[0] == 0
    assert contents(out, "*.tar") == twelve_tars
    assert not temporaries(out)


@posix
def test_signal_while_a_worker_writes(wait_for: WaitFor, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    noise = ["--recipe", "noise", "--images", 40000, "--shard-size", 400]  # it spends nearly all of its time on writing
    process = start("di-invert", "--teacher", "digits_cnn", *noise, "--workers", 2, "--out", out)
    wait_for(lambda: complete_shards(out) > 1 and bool(list(out.glob(".0*.tar.*.tmp"))), process)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75, stderr
    assert not temporaries(out)


@posix
def test_kill_of_di_invert(
    wait_for: WaitFor, di: Di, start: Start, twelve_tars: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *TWELVE, "--workers", 2, "--out", out)
    wait_for(lambda: complete_shards(out) > 0, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert 0 < complete_shards(out) < 12
    # Whether the kill hit in the middle of writing is chance, so leave the files that it would leave then.
    (out / f".000011.tar.0123abcd.{os.uname().nodename}.{process.pid}.tmp").write_bytes(b"half a shard")
    (out / "000011.tar").write_bytes(twelve_tars["000011.tar"][:5000])

    code, _, stderr = di("di-invert", *TWELVE, "--workers", 1, "--out", out)
    assert code == 0, stderr
    assert contents(out, "*.tar") == twelve_tars
    assert not temporaries(out)


@posix
def test_kill_of_the_parent_ends_the_workers(wait_for: WaitFor, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *TWELVE, "--workers", 2, "--out", out)
    wait_for(lambda: complete_shards(out) > 0, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=PATIENCE)

    def group_is_gone() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            return False
        return True

    deadline = time.monotonic() + PATIENCE
    while not group_is_gone():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert complete_shards(out) < 12


@posix
@pytest.mark.parametrize("loader", ["webdataset", "dali"])
def test_kill_of_di_distill(
    wait_for: WaitFor, di: Di, start: Start, made_shards: Path, tmp_path: Path, loader: str
) -> None:
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    command = ["--shards", made_shards, "--epochs", 12, "--batch-size", 20, "--loader", loader]
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert di("di-distill", *command, "--out", undisturbed)[0] == 0

    metrics = out / "metrics.jsonl"
    process = start("di-distill", *command, "--out", out)
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert not (out / "model.json").exists()
    shutil.copy(out / "checkpoint.pt", out / f".checkpoint.pt.0123abcd.{os.uname().nodename}.{process.pid}.tmp")

    code, _, stderr = di("di-distill", *command, "--out", out)
    assert code == 0, stderr
    assert "12/12 epochs" in stderr
    digests = [json.loads((folder / "model.json").read_text())["sha256"] for folder in (undisturbed, out)]
    assert digests[0] == digests[1]
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (undisturbed, out)
    ]
    assert losses[0] == losses[1]
    assert not temporaries(out)
    assert not (out / "checkpoint.pt").exists()
