"""Faults while the work goes on: damaged files, full disks, NaN, signals, kills."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from dreamdistill.invert.engine import Engine, Synthesis, batch_seed

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]
WaitFor = Callable[[Callable[[], bool], subprocess.Popen[str]], None]

BIN = Path(sys.executable).parent  # not resolved: the commands lie beside a virtual environment's link
INVERT = ["--teacher", "digits_cnn", "--shard-size", 4, "--workers", 1]
PATIENCE = 120  # seconds, on a busy machine
posix = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def complete_shards(folder: Path) -> int:
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


# NaN


def test_divergence_of_every_shard(di: Di, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *INVERT, "--images", 4, "--steps", 3, "--out", out]
    stderr = fails(*command, "--lr", 1e30, code=1, says=["1 of 1 shards failed", "NaN 3 times", "lower --lr"])
    tries = [line for line in stderr.splitlines() if line.startswith("shard 000000, batch 0: ")]
    assert len(tries) == 3
    assert all("starting it again with a new seed" in line for line in tries[:2])
    assert "giving the shard up" in tries[2]
    assert complete_shards(out) == 0
    assert not contents(out, "*.tar")
    assert not temporaries(out)

    code, _, stderr = di(*command, "--lr", 0.1)  # as the error advises; the folder holds nothing to protect
    assert code == 0, stderr
    assert di("di-shards", "verify", out)[0] == 0


def diverging(monkeypatch: pytest.MonkeyPatch, *, shard: int, attempts: int) -> None:
    """Make the first attempts at one shard diverge: a huge learning rate, for their seeds only."""
    bad = {batch_seed(seed=0, round=0, shard=shard, batch=0, attempt=attempt) for attempt in range(attempts)}
    synthesize = Engine.synthesize

    def patched(self: Engine, targets_N: Tensor, *, seed: int, **options: object) -> Synthesis:
        engine = Engine(self.teacher, self.recipe.changed({"lr": 1e30})) if seed in bad else self
        return synthesize(engine, targets_N, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "synthesize", patched)


def test_divergence_of_one_shard(di: Di, fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *INVERT, "--images", 12, "--steps", 3, "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        diverging(patch, shard=1, attempts=3)
        says = ["1 of 3 shards failed", "shard 000001", "NaN 3 times"]
        assert fails(*command, code=3, says=says).count("shard 000001, batch 0: ") == 3
    assert sorted(contents(out, "*.tar")) == ["000000.tar", "000002.tar"]
    assert json.loads((out / "_info.json").read_text())["splits"]["train"]["num_samples"] == 8
    assert di("di-shards", "show", out)[0] == 0
    fails("di-shards", "verify", out, code=1, says=["000001 has not been made"])

    assert di(*command)[0] == 0
    assert di("di-shards", "verify", out)[0] == 0


def test_divergence_with_one_seed_only(di: Di, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    diverging(monkeypatch, shard=1, attempts=1)
    code, _, stderr = di("di-invert", *INVERT, "--images", 8, "--steps", 3, "--out", out)
    assert code == 0
    assert "shard 000001, batch 0: " in stderr
    assert "starting it again with a new seed (1 of 3 tries)" in stderr
    seeds = [json.loads((out / f"{number:06d}.json").read_text())["seed"] for number in (0, 1)]
    assert seeds == [
        batch_seed(seed=0, round=0, shard=0, batch=0, attempt=0),
        batch_seed(seed=0, round=0, shard=1, batch=0, attempt=1),
    ]


def test_divergence_of_the_student(fails: Fails, made_shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-distill", "--shards", made_shards, "--epochs", 2, "--batch-size", 8, "--out", out]
    fails(*command, "--lr", 1e38, "--warmup-epochs", 0, code=1, says=["NaN", "--overwrite", "lower --lr"])
    assert not (out / "model.json").exists()


# Signals and kills

TWELVE = ["--teacher", "digits_cnn", "--images", 48, "--shard-size", 4, "--steps", 60]


@pytest.fixture(scope="module")
def twelve_tars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tars of an undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed")
    command = [str(BIN / "di-invert"), *map(str, TWELVE), "--workers", "1", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return contents(out, "*.tar")


@posix
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
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
def test_kill_of_di_invert(wait_for: WaitFor, start: Start, twelve_tars: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *TWELVE, "--workers", 2, "--out", out]
    process = start(*command)
    wait_for(lambda: complete_shards(out) > 0, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert 0 < complete_shards(out) < 12
    # Whether the kill hit in the middle of writing is chance, so leave the files that it would leave then.
    (out / f".000011.tar.{os.uname().nodename}.{process.pid}.tmp").write_bytes(b"half a shard")
    (out / "000011.tar").write_bytes(twelve_tars["000011.tar"][:5000])

    again = start(*command)
    _, stderr = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, stderr
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
    shutil.copy(out / "checkpoint.pt", out / f".checkpoint.pt.{os.uname().nodename}.{process.pid}.tmp")

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
