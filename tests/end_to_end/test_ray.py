"""``--engine ray`` on a real cluster: several raylets on this machine, which lose workers and nodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is an extra")

from ray.cluster_utils import Cluster

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]

TWELVE = ["--teacher", "digits_cnn", "--images", 48, "--shard-size", 4, "--steps", 100]
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
PATIENCE = 120  # seconds

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, in this process


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and one more node, with one CPU each."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # otherwise Ray writes a token into the home directory
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        made.add_node(**NODE)
        yield made
        made.shutdown()


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def makers(folder: Path) -> set[int]:
    """Processes that have made a shard."""
    marks = [json.loads(path.read_text()) for path in folder.glob("0*.json")]
    return {int(mark["worker"].rpartition(":")[2]) for mark in marks}


def wait_for_makers(count: int, folder: Path, process: subprocess.Popen[str]) -> set[int]:
    deadline = time.monotonic() + PATIENCE
    while len(made := makers(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no shard was made"
        time.sleep(0.05)
    return made


def test_a_node_that_dies_and_one_that_joins(cluster: Any, di: Di, start: Start, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm", tmp_path / "out"
    assert di("di-invert", *TWELVE, "--workers", 1, "--out", calm)[0] == 0
    process = start("di-invert", *TWELVE, "--engine", "ray", "--address", cluster.address, "--out", out, "--json")
    wait_for_makers(2, out, process)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)  # SIGKILL of its raylet and workers
    cluster.add_node(**NODE)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["shards"] == 12
    assert tars(out) == tars(calm)
    assert not list(out.glob(".*.tmp"))
    assert "Traceback" not in stderr


def test_a_worker_that_is_killed(cluster: Any, di: Di, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("di-invert", *TWELVE, "--engine", "ray", "--address", cluster.address, "--out", out)
    os.kill(max(wait_for_makers(2, out, process)), signal.SIGKILL)
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, stderr
    assert di("di-shards", "verify", out)[0] == 0
    assert not list(out.glob(".*.tmp"))


def test_a_task_that_never_works_is_given_up(cluster: Any, fails: Fails, start: Start, tmp_path: Path) -> None:
    network = tmp_path / "network.py"
    network.write_text(
        "from dreamdistill.shared.models.classifier import load_model\n"
        "def teacher():\n"
        "    network = load_model('digits_cnn').network\n"
        "    def hook(module, inputs):\n"
        "        if inputs[0].requires_grad:\n"
        "            raise RuntimeError('no kernel for this')\n"
        "    network.register_forward_pre_hook(hook)\n"
        "    return network\n"
    )
    settings = ["--num-classes", 10, "--mean", 0.5, "--std", 0.5, "--image-size", 8, "--images", 8, "--shard-size", 4]
    command = ["--teacher", f"{network}:teacher", *settings, "--engine", "ray", "--address", cluster.address]
    process = start("di-invert", *command, "--out", tmp_path / "out")
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1, stderr
    error = stderr.splitlines()[-1]
    assert error.startswith("error: 2 of 2 shards failed: 000000 (RuntimeError: no kernel for this")
    assert "3 times" in error
    for number in range(2):
        tries = [line for line in stderr.splitlines() if line.startswith(f"shard {number:06d}: ")]
        assert [line.rpartition("; ")[2] for line in tries] == [
            f"trying it again ({count} of 3 tries)" for count in (1, 2)
        ]
    assert "Traceback" not in stderr


def test_stop_signal(cluster: Any, di: Di, start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["di-invert", *TWELVE, "--out", out]
    process = start(*command, "--engine", "ray", "--address", cluster.address)
    wait_for_makers(1, out, process)
    os.kill(process.pid, signal.SIGTERM)
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 75, stderr
    assert "run the same command again" in stderr.splitlines()[-1]
    with contextlib.suppress(FileNotFoundError):
        assert len(tars(out)) < 12
    assert di(*command, "--workers", 1)[0] == 0
    assert di("di-shards", "verify", out)[0] == 0


def test_no_cluster_at_the_address(start: Start, tmp_path: Path) -> None:
    process = start("di-invert", *TWELVE, "--engine", "ray", "--address", "127.0.0.1:1", "--out", tmp_path / "out")
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2, stderr
    assert "cannot join a Ray cluster at 127.0.0.1:1" in stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
