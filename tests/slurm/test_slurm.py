"""The batch scripts of pipelines/slurm in a real SLURM of one node: cancelled, killed, out of time, requeued."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "pipelines" / "slurm"
CLUSTER = Path(__file__).parent / "cluster.sh"
BIN = Path(sys.executable).parent  # not resolved: the commands are beside the link in a virtual environment
PATIENCE = 180  # seconds, for a machine that is busy with other work
CHECK_EVERY = 30  # seconds between two checks of the time limits by slurmctld, counted from its start
ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT")

# 32 shards, 8 per task, take one or two seconds each. So a task lasts longer than the events of the tests need.
TASKS, SHARDS = 4, 32
INVERT = ["--images", str(8 * SHARDS), "--shard-size", "8", "--steps", "300", "--workers", "1"]


def reason_to_skip() -> str:
    if os.name != "posix" or os.geteuid() != 0:
        return "starting a SLURM node needs root"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=path)]
    return f"this machine has no {', '.join(missing)}" if missing else ""


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


@dataclass(frozen=True)
class Cluster:
    """A running SLURM."""

    folder: Path

    def call(self, *command: object, cwd: Path | None = None, **variables: object) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "VENV": str(BIN.parent)}
        environment |= {name: str(value) for name, value in variables.items()}
        done = subprocess.run(
            [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done
        return done.stdout

    def submit(self, cwd: Path, script: str, options: list[str], arguments: list[str], **variables: object) -> str:
        """Submit a script as a user does on a cluster without GPUs. Return the job's id."""
        options = ["--parsable", "--gpus-per-node=0", "--cpus-per-task=1", *options]
        return self.call("sbatch", *options, SCRIPTS / script, *arguments, cwd=cwd, **variables).strip()

    def job(self, number: str) -> dict[str, str]:
        shown = self.call("scontrol", "--oneliner", "show", "job", number).splitlines()[0]
        return dict(re.findall(r"(\w+)=(\S+)", shown))

    def state(self, number: str) -> str:
        return self.job(number)["JobState"]

    def wait(self, *numbers: str) -> None:
        wait_for(lambda: all(self.state(number) in ENDED for number in numbers), f"{numbers} did not end")

    def until_next_check(self) -> float:
        """Seconds until slurmctld checks the time limits."""
        return CHECK_EVERY - (time.time() - (self.folder / "slurmctld.pid").stat().st_mtime) % CHECK_EVERY


def wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def complete_shards(folder: Path, task: int | None = None) -> set[int]:
    """Numbers of the complete shards: all, or those of one task's share."""
    numbers = {int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdigit()}
    return {number for number in numbers if task is None or number % TASKS == task}


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    # All tasks of the array must run at once, also on a small machine.
    subprocess.run([CLUSTER, "up", folder], env={**os.environ, "CPUS": str(TASKS)}, check=True, timeout=PATIENCE)
    yield Cluster(folder)
    subprocess.run([CLUSTER, "down", folder], check=True, timeout=PATIENCE)


@pytest.fixture
def single_process(tmp_path: Path) -> Iterator[Callable[[], dict[str, bytes]]]:
    """The tars of a plain run, which runs at a low priority beside the jobs."""
    out = tmp_path / "single_process"
    command = ["nice", "-n", "10", BIN / "di-invert", "--teacher", "digits_cnn", "--out", out, *INVERT]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finished() -> dict[str, bytes]:
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, stderr
        return tars(out)

    yield finished
    process.kill()
    process.communicate()


def test_an_array_that_loses_tasks(
    cluster: Cluster, single_process: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    out, variables = tmp_path / "shards", {"TEACHER": "digits_cnn", "OUT": "shards"}
    # SLURM sends its warning when it checks the time limits. That must be soon enough for task 2 to have work left.
    wait_for(lambda: 7 < cluster.until_next_check() < 9, "the time of slurmctld's next check is unknown")
    array = cluster.submit(tmp_path, "invert.sbatch", [f"--array=0-{TASKS - 1}"], INVERT, **variables)
    kept, cancelled, warned, killed = (f"{array}_{task}" for task in range(TASKS))
    # Less than the two minutes of warning that the script asks for, so the warning comes with the next check.
    cluster.call("scontrol", "update", f"JobId={warned}", "TimeLimit=1")

    wait_for(lambda: bool(complete_shards(out, 1)), "task 1 made nothing")
    cluster.call("scancel", cancelled)
    wait_for(lambda: bool(complete_shards(out, 3)), "task 3 made nothing")
    cluster.call("scancel", "--signal=KILL", f"{killed}.0")  # the step that srun started, as when it is out of memory
    wait_for(lambda: cluster.job(warned)["Restarts"] == "1" or cluster.state(warned) in ENDED, "no warning came")
    assert cluster.job(warned)["Restarts"] == "1", "task 2 ended before SLURM warned it"
    assert len(complete_shards(out, 2)) < SHARDS // TASKS
    cluster.call("scontrol", "update", f"JobId={warned}", "TimeLimit=60")  # enough time, also on a busy machine

    cluster.wait(kept, cancelled, warned, killed)
    assert [cluster.state(job) for job in (kept, cancelled, warned, killed)] == [
        "COMPLETED",
        "CANCELLED",
        "COMPLETED",
        "FAILED",
    ]
    assert [len(complete_shards(out, task)) for task in (0, 2)] == [SHARDS // TASKS] * 2
    assert all(0 < len(complete_shards(out, task)) < SHARDS // TASKS for task in (1, 3))
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    log = (tmp_path / f"di-invert_{array}_2.log").read_text()
    assert "run the same command again" in log
    assert "Traceback" not in log

    again = cluster.submit(tmp_path, "invert.sbatch", [f"--array=0-{TASKS - 1}"], INVERT, **variables)
    jobs = [f"{again}_{task}" for task in range(TASKS)]
    cluster.wait(*jobs)
    assert [cluster.state(job) for job in jobs] == ["COMPLETED"] * TASKS
    assert complete_shards(out) == set(range(SHARDS))
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}.items() >= first.items()
    assert not list(out.rglob("*.tmp"))
    cluster.call(BIN / "di-shards", "verify", out)
    assert tars(out) == single_process()


def processes(job: str, **variables: object) -> list[int]:
    """The processes of a job whose environment has these variables."""
    wanted = {f"{name}={value}".encode() for name, value in {"SLURM_JOB_ID": job, **variables}.items()}
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # the process has ended
            if wanted <= set(path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return found


def test_training_of_two_processes_that_is_stopped_or_loses_one(
    cluster: Cluster, made_shards: Path, tmp_path: Path
) -> None:
    options, arguments = ["--nodes=1"], ["--epochs", "60", "--batch-size", "10", "--loader", "webdataset"]
    names = ("undisturbed", "warned", "killed")
    undisturbed, warned, killed = jobs = [
        cluster.submit(tmp_path, "distill.sbatch", options, arguments, SHARDS=made_shards, OUT=name, PROCESSES=2)
        for name in names
    ]

    def wait_for_epochs(name: str) -> None:
        metrics = tmp_path / name / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3, "no epoch ended")
        assert not (tmp_path / name / "model.json").exists(), "the training ended too soon"

    wait_for_epochs("warned")
    cluster.call("scancel", "--batch", "--signal=USR1", warned)  # the warning of SLURM, sent by the test
    wait_for_epochs("killed")
    for process in processes(killed, LOCAL_RANK=1):
        os.kill(process, signal.SIGKILL)

    cluster.wait(*jobs)
    wait_for(lambda: cluster.job(warned)["Restarts"] == "1", "it was not requeued")
    cluster.wait(warned)
    logs = [(tmp_path / f"di-distill_{job}.log").read_text() for job in jobs]
    assert [cluster.state(job) for job in jobs] == ["COMPLETED"] * 3, logs
    assert [cluster.job(job)["Restarts"] for job in (undisturbed, killed)] == [
        "0",
        "0",
    ]  # torchrun replaced the process
    assert len({(tmp_path / name / "model.json").read_text() for name in names}) == 1
    assert not list(tmp_path.rglob("*.tmp"))
