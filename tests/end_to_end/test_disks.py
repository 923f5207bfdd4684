"""Full disks and read-only folders: one sentence, nothing half-written, and the same command goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import BIN, PATIENCE, Di, complete_shards, contents, temporaries

INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]


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
    assert 0 < complete_shards(full) < 10
    stderr = di("di-shards", "verify", full)[2]
    assert f"{10 - complete_shards(full)} of the shards" in stderr, stderr
    assert stderr.count("has not been made") == 10 - complete_shards(full), "a shard is damaged"

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
