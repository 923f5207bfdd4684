"""Full disks and read-only folders: one sentence, nothing half-written, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import BIN, PATIENCE, Di, complete_shards, contents, temporaries

SmallDisk = Callable[[str, str], "subprocess.CompletedProcess[str]"]
INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]


@pytest.fixture
def on_small_disk(tmp_path: Path) -> SmallDisk:
    """Runs a shell script that has a small file system of its own at ./disk; needs user namespaces (Linux)."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(size: str, script: str) -> subprocess.CompletedProcess[str]:
        script = f"mount -t tmpfs -o size={size} none disk && {script}"
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=PATIENCE
        )

    try:
        if run("100k", "true").returncode:
            pytest.skip("this machine does not allow user and mount namespaces")
    except FileNotFoundError:
        pytest.skip("there is no unshare on this machine")
    return run


def test_full_disk_under_di_invert(di: Di, on_small_disk: SmallDisk, tmp_path: Path) -> None:
    command = ["--teacher", "digits_cnn", "--images", 80, "--shard-size", 8, "--steps", 2, "--workers", 1]
    line = " ".join(["di-invert", *map(str, command), "--out", "disk"])
    done = on_small_disk(
        "200k", f"{line}; echo $?; cp -r disk full; mount -o remount,size=4m disk && {line} --json && cp -r disk ample"
    )
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stdout.splitlines()[0] == "1", done
    assert len(error) == 1
    assert "no space left" in error[0]
    assert "run the same command again" in error[0]
    assert "Traceback" not in done.stderr

    full, ample = tmp_path / "full", tmp_path / "ample"
    assert not temporaries(full)
    assert 0 < complete_shards(full) < 10
    stderr = di("di-shards", "verify", full)[2]
    assert f"{11 - complete_shards(full)} problems in" in stderr, stderr  # _info.json is the last to be written
    assert stderr.count("has not been made") == 10 - complete_shards(full), "a shard is damaged"

    assert json.loads(done.stdout.splitlines()[1])["shards"] == 10
    assert contents(ample, "*.tar").items() >= contents(full, "*.tar").items()
    assert di("di-shards", "verify", ample)[0] == 0


def test_full_disk_under_di_distill(on_small_disk: SmallDisk, made_shards: Path, tmp_path: Path) -> None:
    line = f"di-distill --shards {made_shards} --epochs 1 --loader webdataset --out disk"
    done = on_small_disk("60k", f"{line}; echo $?; cp -r disk full")
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stdout.splitlines()[0] == "1", done
    assert len(error) == 1
    assert "no space left" in error[0]
    assert "--debug" not in error[0]
    assert not temporaries(tmp_path / "full")


def test_full_disk_in_a_later_checkpoint(di: Di, on_small_disk: SmallDisk, made_shards: Path, tmp_path: Path) -> None:
    options = f"--shards {made_shards} --student digits_cnn_small --epochs 40 --loader webdataset"
    assert di("di-distill", *options.split(), "--out", tmp_path / "undisturbed")[0] == 0
    line = f"di-distill {options} --out disk"
    once_and_a_half = 4 * (tmp_path / "undisturbed/model.safetensors").stat().st_size  # a checkpoint has 2.6 of them
    done = on_small_disk(
        f"{once_and_a_half}",
        f"{line}; echo $?; cp -r disk full; mount -o remount,size=8m disk && {line} --json && cp -r disk ample",
    )
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stdout.splitlines()[0] == "1", done
    assert error == ["error: no space left to write the result; free some and run the same command again"]
    assert (tmp_path / "full/checkpoint.pt").exists()  # the one before
    assert not temporaries(tmp_path / "full")
    assert weights(tmp_path / "ample") == weights(tmp_path / "undisturbed")
    assert not (tmp_path / "ample/checkpoint.pt").exists()


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


TWO_WORKERS = "di-invert --teacher digits_cnn --images 8 --shard-size 2 --steps 2 --workers 2 --out out"
STUDENT = "di-distill --shards out --epochs 1 --out student"


@pytest.mark.parametrize(
    "prepare",
    [
        "mount --move disk /dev/shm && df -k /dev/shm | grep -q ' 64 ' && export TMPDIR=/nonexistent",
        "mount -o remount,ro disk && export TMPDIR=$PWD/disk",
    ],
    ids=["tiny /dev/shm and no TMPDIR", "read-only TMPDIR"],
)
def test_no_room_for_temporary_files(on_small_disk: SmallDisk, tmp_path: Path, prepare: str) -> None:
    done = on_small_disk("64k", f"{prepare} && {TWO_WORKERS} && {STUDENT}")
    assert done.returncode == 0, done
    assert (tmp_path / "student/report.json").exists()


def test_no_folder_for_temporary_files_at_all(on_small_disk: SmallDisk) -> None:
    read_only = "for d in /tmp /var/tmp /usr/tmp; do mount --bind $d $d; mount -o remount,bind,ro $d; done 2>/dev/null"
    # torch sets the variable in this process, and looks for a folder where it is not set.
    script = f"unset TORCHINDUCTOR_CACHE_DIR; export TMPDIR=/nonexistent OUT=/dev/shm/out; {read_only}"
    script = f"mount --move disk /dev/shm; {script}; cd /sys"
    done = on_small_disk("1m", f"{script}; {TWO_WORKERS} --out $OUT; echo $?; ls $OUT")
    assert done.stdout.split() == ["1"], done  # and the folder is empty
    assert done.stderr == "error: there is no folder for temporary files that can be written: set TMPDIR to one\n"


def test_the_compiler_has_no_space(on_small_disk: SmallDisk, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch compiles with g++")
    done = on_small_disk("64k", f"export TMPDIR=$PWD/disk; {TWO_WORKERS} --workers 1 --compile on")
    assert done.returncode == 0, done
    assert "torch.compile failed" in done.stderr
    assert "going on without it" in done.stderr
    assert complete_shards(tmp_path / "out") == 4


def test_read_only_folder(on_small_disk: SmallDisk, made_shards: Path, tmp_path: Path) -> None:
    command = " ".join(["di-invert --out disk --images 80", *map(str, INVERT)])
    done = on_small_disk(
        "4m",
        f"cp -r {made_shards}/. disk; mount -o remount,ro disk;"
        f" {command}; echo $?; di-shards verify disk && ls -A disk",
    )
    assert done.stdout.splitlines()[0] == "1", done
    assert done.stderr.splitlines()[-1].startswith("error: cannot use disk/.locks: Read-only file system; ")
    assert "Traceback" not in done.stderr
    assert set(done.stdout.split()) >= {path.name for path in made_shards.iterdir()}
