"""What others do to a folder while a command is at work in it: they delete, lock, and put links where it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Di, Fails, Start, WaitFor, contents, finish, makers, posix, tars

from dreamdistill.shared.shards import locks

EIGHT = ["--teacher", "digits_cnn", "--images", 32, "--shard-size", 4, "--steps", 60]


# Deleted during the run


@posix
@pytest.mark.parametrize("suffix", ["json", "tar"])
def test_a_shard_that_is_deleted_during_the_run(
    wait_for: WaitFor, di: Di, start: Start, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *EIGHT, "--workers", 1, "--out", out]
    process = start(*command)
    wait_for(lambda: (out / "000000.json").exists(), process)
    (out / f"000000.{suffix}").unlink()
    code, stdout, stderr = finish(process)
    assert code == 3, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("error: 1 of 8 shards, shard 000000 first, are not there any more")
    code, _, stderr = di(*command)
    assert code == 0, stderr
    assert len(tars(out)) == 8


@posix
@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_is_deleted_during_the_run(wait_for: WaitFor, start: Start, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *EIGHT, "--steps", 200, "--workers", workers, "--out", out)
    wait_for(lambda: bool(makers(out)), process)
    out.rename(tmp_path / "moved")
    code, _, stderr = finish(process)
    assert code == 1, stderr
    assert stderr.splitlines()[-1] == f"error: {out} was deleted or moved during the run: run the same command again"
    assert not out.exists()


# Locked


HOLDER = """
import sys
from pathlib import Path
from dreamdistill.shared.shards.locks import ShardLocks
with ShardLocks(Path(sys.argv[1])) as held, held.folder():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(shards: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder's lock until its stdin ends."""
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLDER, str(shards)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_wait_for_the_lock_names_its_holder_and_ends_with_it(
    start: Start, holder: subprocess.Popen[str], shards: Path, as_made: list[object]
) -> None:
    begun = time.monotonic()
    process = start("di-invert", *as_made, "--out", shards)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert time.monotonic() - begun > locks.SAY_AFTER
    holds = f"process {holder.pid} of this machine" if sys.platform == "linux" else "another process"
    assert line.startswith(f"waiting for the lock of {shards}, which {holds}")
    assert process.poll() is None
    holder.communicate()
    code, _, stderr = finish(process)
    assert code == 0, stderr
    assert "waiting" not in stderr  # it is said once


# di-invert, with less time before it says that it waits.
IMPATIENT = """
from dreamdistill.shared.shards import locks
locks.SAY_AFTER = 0.3
from dreamdistill.invert.cli import main
main()
"""


@posix
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_wait_for_the_lock_can_be_stopped(
    start: Start, holder: subprocess.Popen[str], shards: Path, as_made: list[object], stop: signal.Signals, code: int
) -> None:
    process = start(sys.executable, "-c", IMPATIENT, *as_made, "--out", shards)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("waiting for the lock")
    process.send_signal(stop)
    ended, _, stderr = finish(process)
    assert ended == code
    assert stderr.splitlines()[-1].startswith("error: stopped by ")
    assert holder.poll() is None


# Links


def link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_a_lock_file_that_is_no_file(fails: Fails, shards: Path, as_made: list[object], kind: str) -> None:
    path, victim = shards / locks.LOCKS, shards.parent / "victim"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        link(path, victim)
        if kind == "link":
            victim.write_text("precious")
    (shards / "000001.json").unlink()
    fails("di-invert", *as_made, "--out", shards, code=1, says=[f"{path} must be an empty file", "delete it"])
    assert victim.exists() == (kind == "link")


@posix
def test_what_is_written_replaces_a_link_and_leaves_its_target(
    di: Di, shards: Path, as_made: list[object], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    made = contents(shards, "0*1.tar")
    (shards / "000001.json").unlink()
    for name in ("000001.tar", "000001.idx", "_info.json"):
        link(shards / name, victim)
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert contents(shards, "0*1.tar") == made
    out = tmp_path / "student"
    out.mkdir()
    for name in ("metrics.jsonl", "model.safetensors"):
        link(out / name, tmp_path / "nothing")
    link(tmp_path / "sheet.png", victim)
    assert di("di-distill", "--shards", shards, "--epochs", 1, "--out", out)[0] == 0
    assert di("di-shards", "gallery", shards, "--out", tmp_path / "sheet.png")[0] == 0
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()
    assert not [path for path in (*shards.iterdir(), *out.iterdir(), tmp_path / "sheet.png") if path.is_symlink()]


@posix
def test_a_folder_may_be_a_link(di: Di, shards: Path, as_made: list[object], tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(shards)
    (shards / "000001.json").unlink()
    assert di("di-invert", *as_made, "--out", linked)[0] == 0
    assert linked.is_symlink()
    assert di("di-shards", "verify", linked)[0] == 0
