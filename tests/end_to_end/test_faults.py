"""Faults of files: damaged shards, full disks, and what crashes leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]

BIN = Path(sys.executable).parent  # not resolved: the commands lie beside a virtual environment's link
INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]
PATIENCE = 120  # seconds, on a busy machine
posix = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def whole_shards(folder: Path) -> int:
    return len(list(folder.glob("[0-9]*.json")))


# Damaged shards


def test_truncated_tar(fails: Fails, shards: Path, tmp_path: Path) -> None:
    tar = shards / "000001.tar"
    size = tar.stat().st_size
    os.truncate(tar, size // 2 // 512 * 512)  # at the end of a member's block, where tar readers stop without an error

    says = [str(tar), str(size), "bytes long"]
    for name in ("di-distill", "di-prune"):
        fails(name, "--shards", shards, "--out", tmp_path / "out", code=1, says=[*says, "000001.json"])
        assert not (tmp_path / "out").exists()
    for name in ("show", "gallery"):
        fails("di-shards", name, shards, code=1, says=[*says, "000001.json", "di-invert"])
    fails("di-shards", "verify", shards, code=1, says=["1 of the shards", *says])


def test_following_the_advice_of_the_error_repairs_the_shard(
    di: Di, shards: Path, made_shards: Path, as_made: list[object]
) -> None:
    os.truncate(shards / "000001.tar", 512)
    (shards / "000001.json").unlink()
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert di("di-shards", "verify", shards)[0] == 0


def test_missing_tar(fails: Fails, shards: Path, tmp_path: Path) -> None:
    (shards / "000000.tar").unlink()
    fails("di-distill", "--shards", shards, "--out", tmp_path / "out", code=1, says=["000000.tar", "is missing"])
    fails("di-shards", "verify", shards, code=1, says=["000000.tar", "is missing"])
    assert not (tmp_path / "out").exists()


def test_one_flipped_byte(di: Di, fails: Fails, shards: Path) -> None:
    tar = shards / "000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    fails("di-shards", "verify", shards, code=1, says=["1 of the shards", str(tar), "sha256"])
    assert di("di-shards", "show", shards)[0] == 0


@pytest.mark.parametrize("name", ["manifest.json", "000000.json"])
def test_damaged_json(fails: Fails, shards: Path, tmp_path: Path, name: str) -> None:
    (shards / name).write_bytes((shards / name).read_bytes()[:40])
    for command in (["di-distill", "--shards", shards, "--out", tmp_path / "out"], ["di-shards", "verify", shards]):
        fails(*command, code=1, says=[str(shards / name), "damaged", "again"])
    assert not (tmp_path / "out").exists()


def test_damaged_checkpoint(di: Di, fails: Fails, made_shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-distill", "--shards", made_shards, "--epochs", 1, "--loader", "webdataset", "--out", out]
    assert di(*command)[0] == 0
    for name in ("report.json", "model.json"):
        (out / name).unlink()
    (out / "checkpoint.pt").write_bytes(b"no checkpoint")
    fails(*command, code=1, says=[str(out / "checkpoint.pt"), "damaged", "--overwrite"])


# A full disk


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
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


def test_full_disk_under_di_invert(
    di: Di, on_small_disk: Callable[[str, str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
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
    assert 0 < whole_shards(full) < 10
    stderr = di("di-shards", "verify", full)[2]
    assert f"{10 - whole_shards(full)} of the shards" in stderr, stderr
    assert stderr.count("has not been made") == 10 - whole_shards(full), "a shard is damaged"

    assert json.loads(done.stdout.splitlines()[1])["shards"] == 10
    assert contents(ample, "*.tar").items() >= contents(full, "*.tar").items()
    assert di("di-shards", "verify", ample)[0] == 0


def test_full_disk_under_di_distill(
    on_small_disk: Callable[[str, str], subprocess.CompletedProcess[str]], made_shards: Path, tmp_path: Path
) -> None:
    line = f"di-distill --shards {made_shards} --epochs 1 --loader webdataset --out disk"
    done = on_small_disk("60k", f"{line}; echo $?; cp -r disk full")
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stdout.splitlines()[0] == "1", done
    assert len(error) == 1
    assert "no space left" in error[0]
    assert "--debug" not in error[0]
    assert not temporaries(tmp_path / "full")


def test_read_only_folder(
    on_small_disk: Callable[[str, str], subprocess.CompletedProcess[str]], made_shards: Path, tmp_path: Path
) -> None:
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


# Files that crashes of machines and file systems leave


def test_a_record_without_its_tar_and_a_tar_without_its_record(
    di: Di, shards: Path, made_shards: Path, as_made: list[object]
) -> None:
    (shards / "000000.tar").unlink()
    (shards / "000001.json").unlink()
    code, _, stderr = di("di-invert", *as_made, "--out", shards)
    assert code == 0, stderr
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert di("di-shards", "verify", shards)[0] == 0


def test_temporary_files_of_dead_processes_are_deleted(di: Di, shards: Path, as_made: list[object]) -> None:
    (shards / "000001.json").unlink()
    dead = subprocess.Popen(["true"])
    dead.wait()
    ours, other, old = (
        shards / f".000001.tar.{host}.tmp" for host in (f"{os.uname().nodename}.{dead.pid}", "node7.123", "node8.123")
    )
    for path in (ours, other, old):
        path.write_bytes(b"half a shard")
    day_before = shards.stat().st_mtime - 25 * 3600
    os.utime(old, (day_before, day_before))
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert temporaries(shards) == [other.name]  # node7 may still be writing it


def test_a_clock_that_jumps_back(di: Di, shards: Path, made_shards: Path, as_made: list[object]) -> None:
    (shards / "000001.json").unlink()
    live = shards / ".000001.tar.node7.123.tmp"
    live.write_bytes(b"half a shard")
    for path in (shards, *shards.iterdir()):  # as if written a year from now
        in_a_year = path.stat().st_mtime + 365 * 86400
        os.utime(path, (in_a_year, in_a_year))
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert contents(shards, "*.tar") == contents(made_shards, "*.tar")
    assert live.exists()
    live.unlink()
    code, stdout, stderr = di("di-shards", "show", shards, "--watch", "--json")
    assert code == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["shards"] == 2
