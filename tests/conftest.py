"""Fixtures of several folders: the commands called in this process, and a small real shard folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# Read by OpenMP when torch is imported: threads that wait for one another by spinning starve the processes under test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Figures in tests are those of a CPU. With DREAMDISTILL_TEST_GPU=1 a GPU is used, without the tests marked cpu.
if not os.environ.get("DREAMDISTILL_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from command_modules import MODULES

from dreamdistill.shared.cli.commandline import run_command

BIN = Path(sys.executable).parent  # not resolved: the commands lie beside a virtual environment's link
PATIENCE = 120  # seconds, on a machine that is busy with other things


class Result(NamedTuple):
    """What a command left: its exit code and its output."""

    code: int
    stdout: str
    stderr: str


def call(name: str, *arguments: object) -> int:
    """Run a command of ours by its name, and return its exit code."""
    return run_command(importlib.import_module(MODULES[name]).command, [str(a) for a in arguments])


@contextlib.contextmanager
def process_put_back() -> Iterator[None]:
    """Commands set a signal handler, torch's threads and determinism for the whole process: put them back.

    A developer's own ``DI_INVERT_...`` variables must not reach the commands under test.
    """
    stops = [number for name in ("SIGTERM", "SIGUSR2") if (number := getattr(signal, name, None))]
    handlers = [signal.getsignal(number) for number in stops]
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    with pytest.MonkeyPatch.context() as environment:
        for variable in [name for name in os.environ if name.startswith("DI_")]:
            environment.delenv(variable)
        environment.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the commands set it, if it is not set
        yield
    for number, handler in zip(stops, handlers, strict=True):
        signal.signal(number, handler)
    torch.set_num_threads(threads)
    for name, flag in zip(("benchmark", "deterministic"), flags, strict=True):
        setattr(cudnn, name, flag)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cpu"):
                item.add_marker(pytest.mark.skip(reason="its figures, or its own tensors, are those of a CPU"))


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tool remembers for a user is kept apart from the developer's own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _process_put_back() -> Iterator[None]:
    with process_put_back():
        yield


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in a process group of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []
    # Under nohup or in a script's background, Ctrl-C is ignored, and so it would be in what we start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(name: str, *arguments: object, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(BIN / name), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )
        started.append(process)
        return process

    yield run
    signal.signal(signal.SIGINT, before)
    for process in started:
        with contextlib.suppress(ProcessLookupError):  # its workers may outlive it, and hold its pipes
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool], subprocess.Popen[str]], None]:
    """``wait_for(condition, process)``: until the condition holds, while the process is at work."""

    def wait(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert process.poll() is None, f"ended too soon: {process.communicate()}"
            assert time.monotonic() < deadline, "nothing came of it"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def run_undisturbed() -> Callable[..., None]:
    """``run_undisturbed("di-invert", ...)`` runs a command in this process, which must work; for what is made once."""

    def run(name: str, *arguments: object) -> None:
        with process_put_back():
            assert call(name, *arguments) == 0

    return run


@pytest.fixture
def di(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``di("di-invert", "--steps", 2)`` runs a command in this process: (code, stdout, stderr), workers' included."""

    def run(name: str, *arguments: object) -> Result:
        capfd.readouterr()
        code = call(name, *arguments)
        stdout, stderr = capfd.readouterr()
        return Result(code, stdout, stderr)

    return run


@pytest.fixture
def fails(di: Callable[..., Result]) -> Callable[..., str]:
    """``fails("di-prune", "--ratio", 1.2, code=2, says=["--ratio"])`` runs a command that must fail as all should.

    With that exit code, nothing on stdout, no traceback, and one line of error at the end of stderr (the only line,
    if it was refused before any work) that holds the words given, whatever their case. Returns stderr.
    """

    def check(name: str, *arguments: object, code: int, says: list[str]) -> str:
        result = di(name, *arguments)
        lines = result.stderr.splitlines()
        assert result.code == code, result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        assert "--debug" not in lines[-1], "a sentence for a bug of ours, not one that says what to do"
        assert code != 2 or len(lines) == 1
        assert not [word for word in says if word.lower() not in lines[-1].lower()], lines[-1]
        return result.stderr

    return check


@pytest.fixture(scope="session")
def as_made() -> list[object]:
    """What di-invert was told for ``made_shards``, all but ``--out``; said again, it finds nothing to do or mends.

    By a published recipe, so that golden runs on them outlive changes of ours.
    """
    options = ["--teacher", "digits_cnn", "--recipe", "cifar10-deepinversion", "--steps", 3]
    return [*options, "--images", 40, "--shard-size", 20, "--workers", 1]


@pytest.fixture(scope="session")
def made_shards(
    run_undisturbed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory, as_made: list[object]
) -> Path:
    """Two shards of 20 images of the shipped digits teacher, made once. Not to be changed: see ``shards``."""
    folder = tmp_path_factory.mktemp("made") / "shards"
    run_undisturbed("di-invert", *as_made, "--out", folder)
    return folder


@pytest.fixture
def shards(made_shards: Path, tmp_path: Path) -> Path:
    """A copy of the small shard folder, to do with what one likes."""
    return shutil.copytree(made_shards, tmp_path / "shards")
