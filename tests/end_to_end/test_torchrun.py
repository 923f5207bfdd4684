"""``torchrun di-distill``: several processes train what one process would, also after kills and stops."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from dreamdistill.distill import stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.distributed import joined, share_processors, torchrun_place
from dreamdistill.shared.core.device import cpu_count
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.shards.loaders import dali_is_installed

Torchrun = Callable[..., "subprocess.Popen[str]"]
WaitFor = Callable[[Callable[[], bool], subprocess.Popen[str]], None]

BIN = Path(sys.executable).parent  # not resolved: in a virtual environment the commands are beside the link
TIMEOUT = 120  # seconds, for a machine that is busy with other work
SMALL = ["--student", "digits_cnn_small", "--batch-size", 12, "--loader", "webdataset", "--mixup", 0, "--json"]
EPOCHS = 40  # enough time for kills and stops, also on a fast machine
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="torchrun needs gloo, and the tests POSIX signals"),
    pytest.mark.cpu,  # several processes want several GPUs
]

# For 40 images and 3 processes. They are trained in float64: in float32, rounding alone makes two trainings differ, as
# it does for one process with one thread and with two.
CASES: dict[str, dict] = {
    "uneven batches": {"batch_size": 16, "loader": "webdataset"},
    "one image is left": {"batch_size": 13, "loader": "webdataset", "labels": "stored"},
    "fewer images than processes are left": {"batch_size": 19, "loader": "dali"},
    "mixup": {"batch_size": 19, "loader": "webdataset", "mixup": 0.5, "labels": "stored"},
}


def train_in_float64(shards: Path, out: Path, name: str) -> None:
    """Train with float64 networks in memory on float64 images."""
    torch.manual_seed(0)
    student = NETWORKS["digits_cnn_small"].build(num_classes=10, in_channels=1).double()
    teacher = load_model("digits_cnn")
    teacher.network.double()
    normalize, blank = Preprocessing.normalize, Preprocessing.blank
    settings = {"epochs": 2, "mixup": 0.0, **CASES[name]}
    if not dali_is_installed():
        settings["loader"] = "webdataset"
    with (
        mock.patch.object(Preprocessing, "normalize", lambda *a: normalize(*a).double()),
        mock.patch.object(Preprocessing, "blank", lambda *a: blank(*a).double()),
    ):
        config = DistillConfig(out=out / name, shards=shards, changes=settings)
        stage.run(config, teacher=teacher, student=student)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def epochs(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "metrics.jsonl").read_text().count("\n")
    return 0


def sha256(folder: Path) -> str:
    return json.loads((folder / "model.json").read_text())["sha256"]


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started, in the order of their rank."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    return sorted(map(int, found.split()))


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("localhost", 0))
        return connection.getsockname()[1]


@pytest.fixture(scope="module")
def torchrun() -> Iterator[Torchrun]:
    """``torchrun(2, "di-distill", ..., restarts=1)`` starts a command in two processes."""
    started: list[subprocess.Popen[str]] = []

    def run(processes: int, script: Path | str, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
        # torchrun's own port is always the same, and tests of another pytest worker may use it at the same time.
        options = ["--nproc-per-node", processes, "--max-restarts", restarts, "--master-port", free_port()]
        process = subprocess.Popen(
            [str(BIN / "torchrun"), *map(str, options), str(BIN / script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # torchrun would set it, and print a long message
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):  # its processes may outlive it, and hold its pipes
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(torchrun: Torchrun, made_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of two processes that nothing interrupts."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    process = torchrun(
        2, "di-distill", "--shards", made_shards, *SMALL, "--epochs", EPOCHS, "--eval", "digits", "--out", out
    )
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["student_top1"] > 0  # one report, from the first process
    assert all(line.startswith(("teacher: ", "distill: ")) for line in stderr.splitlines()), stderr
    assert stderr.count(f"{EPOCHS}/{EPOCHS} epochs") == 1
    return out


def test_in_float64_processes_train_what_one_does(torchrun: Torchrun, made_shards: Path, tmp_path: Path) -> None:
    together = torchrun(3, Path(__file__), made_shards, tmp_path / "3")
    for name in CASES:
        train_in_float64(made_shards, tmp_path / "1", name)
    stdout, stderr = together.communicate(timeout=TIMEOUT)
    assert together.returncode == 0, stderr
    assert "gloo" not in stdout  # its threads would outlive the interpreter, which may then abort
    for name in CASES:
        one, three = tmp_path / "1" / name, tmp_path / "3" / name
        assert losses(three) == pytest.approx(losses(one), rel=0, abs=1e-9), name
        expected = load_file(one / "model.safetensors")
        found = load_file(three / "model.safetensors")
        assert found.keys() == expected.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-7, atol=1e-9, msg=f"{name}: {key}")


def test_in_float32_the_first_losses_differ_by_rounding_alone(
    di: Callable[..., tuple[int, str, str]], undisturbed: Path, made_shards: Path, tmp_path: Path
) -> None:
    code, _, stderr = di("di-distill", "--shards", made_shards, *SMALL, "--epochs", EPOCHS, "--out", tmp_path / "out")
    assert code == 0, stderr
    # Later epochs amplify the rounding, as they do for one process with another number of threads. So does the fit of
    # the weights that the student inherits.
    assert losses(undisturbed)[:2] == pytest.approx(losses(tmp_path / "out")[:2], rel=2e-6)


def test_after_a_kill_torchrun_restarts_and_the_result_is_the_same(
    wait_for: WaitFor, torchrun: Torchrun, undisturbed: Path, made_shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = ["--shards", made_shards, *SMALL, "--epochs", EPOCHS, "--out", out]
    process = torchrun(2, "di-distill", *settings, "--overwrite", restarts=3)
    wait_for(lambda: epochs(out) >= 2, process)
    before = (out / "metrics.jsonl").read_text()
    os.kill(children(process)[0], signal.SIGKILL)  # the one that writes
    wait_for(lambda: len((out / "metrics.jsonl").read_text()) > len(before), process)
    assert (out / "metrics.jsonl").read_text().startswith(before)  # with the same seconds
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert len(stdout.splitlines()) == 1
    assert losses(out) == losses(undisturbed)
    assert sha256(out) == sha256(undisturbed)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in undisturbed.iterdir())


def test_sigterm_stops_all_processes_and_the_same_command_goes_on(
    wait_for: WaitFor, torchrun: Torchrun, undisturbed: Path, made_shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = ["--shards", made_shards, *SMALL, "--epochs", EPOCHS, "--out", out]
    process = torchrun(2, "di-distill", *settings)
    wait_for(lambda: epochs(out) >= 2, process)
    processes = children(process)
    os.kill(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert stdout == ""
    assert [line for line in stderr.splitlines() if "same command again" in line] == [
        "error: stopped by SIGTERM; run the same command again to go on"
    ]
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (out / "model.json").exists()

    process = torchrun(2, "di-distill", *settings)
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert losses(out) == losses(undisturbed)
    assert sha256(out) == sha256(undisturbed)


def test_an_error_of_the_first_process_alone_ends_all(torchrun: Torchrun, made_shards: Path, tmp_path: Path) -> None:
    command = ["--shards", made_shards, *SMALL, "--epochs", 3, "--out", tmp_path / "out", "--eval", "nowhere"]
    process = torchrun(2, "di-distill", *command)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert stdout == ""
    assert "error: nowhere: no such folder" in stderr
    assert "Error: another process" not in stderr  # a traceback of this package
    assert "SIGKILL" not in stderr  # torchrun sends it to a process that does not end within 30 s


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN_ID": "1", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    place = torchrun_place()
    assert (place.rank, place.world) == (1, 2)
    before = torch.get_num_threads()
    with share_processors(place):
        assert torch.get_num_threads() == max(1, cpu_count() // 2)
    assert torch.get_num_threads() == before
    assert stage.dry_run(DistillConfig()) is None


def main() -> None:
    with joined(torchrun_place(), torch.device("cpu")) as group:
        with mock.patch.object(stage, "joined", return_value=contextlib.nullcontext(group)):
            for name in CASES:
                train_in_float64(Path(sys.argv[1]), Path(sys.argv[2]), name)
    for task in Path("/proc/self/task").glob("*/comm"):  # the threads of this process, on Linux
        print(task.read_text())


if __name__ == "__main__":
    main()
