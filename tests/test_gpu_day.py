"""The GPU day, rehearsed on the CPU; and its driver, with parts that fail, hang, or find no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gpu_day import PARTS, Day, Part, table

from dreamdistill.pipelines.teachers.cifar10 import FAST, epochs_within, train
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.preprocessing import Preprocessing

ROOT = Path(__file__).parents[1]
DRIVER = ROOT / "tests/benchmarks/gpu_day.py"
FETCH = ROOT / "tests/benchmarks/gpu/fetch.py"
MOST_FILES = 8
WRITES = """
import json, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
def write(**values):
    out.write_text(json.dumps(values))
"""
FAKES = {
    "good": 'write(value=1, summary=["one line"])',
    "failing": 'write(value=2)\nraise RuntimeError("the GPU fell off the bus")',
    "silent": "sys.exit(3)",
    "hanging": """
import os, subprocess, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
write(child=child.pid, parent=os.getpid())
time.sleep(600)
""",
}


@pytest.fixture
def fake(tmp_path: Path):
    """``fake("good", needs=1, limit=5)`` is a part whose script is one of the fakes."""

    def make(name: str, *, needs: float = 0.1, limit: float = 60) -> Part:
        script = tmp_path / f"{name}.py"
        script.write_text(WRITES + FAKES[name])
        return Part(name=name, needs=needs, limit=limit, script=script)

    return make


def results(out: Path) -> dict:
    return json.loads((out / "gpu-day.json").read_text())


def alive(pid: int) -> bool:
    """Whether a process lives; one that nobody has waited for yet does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_parts_that_fail_do_not_stop_the_others(fake, tmp_path: Path) -> None:
    day = Day(out=tmp_path / "out", seconds=120)
    day.run([fake("failing"), fake("silent"), fake("good")])
    found = results(day.out)
    assert found == day.results
    assert {"hardware", "date", "versions", "rehearsal"} <= found.keys()
    assert found["versions"]["torch"]
    parts = found["parts"]
    assert [part["state"] for part in parts.values()] == ["failed", "failed", "done"]
    assert parts["failing"]["result"] == {"value": 2}
    assert parts["failing"]["error"].endswith("RuntimeError: the GPU fell off the bus")
    assert "result" not in parts["silent"]
    assert parts["good"]["result"]["value"] == 1
    text = table(found)
    assert "one line" in text
    assert "the GPU fell off the bus" in text


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_part_that_hangs_is_killed_with_its_children_and_keeps_its_results(fake, tmp_path: Path) -> None:
    day = Day(out=tmp_path / "out", seconds=120)
    started = time.monotonic()
    day.run([fake("hanging", limit=3), fake("good")])
    assert time.monotonic() - started < 60
    hanging = results(day.out)["parts"]["hanging"]
    assert hanging["state"] == "out of time"
    assert 3 <= hanging["seconds"] < 30
    deadline = time.monotonic() + 10
    while any(map(alive, hanging["result"].values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, hanging["result"].values()))
    assert results(day.out)["parts"]["good"]["state"] == "done"


def test_a_part_that_does_not_fit_is_left_out(fake, tmp_path: Path) -> None:
    day = Day(out=tmp_path / "out", seconds=30)
    day.run([fake("silent", needs=1000), fake("good", needs=1)])
    parts = results(day.out)["parts"]
    assert parts["silent"]["state"] == "left out"
    assert parts["silent"]["error"].startswith("it needs 1000 s, and 2")
    assert parts["good"]["state"] == "done"


def test_a_part_gets_what_is_left_if_that_is_less_than_its_limit(fake, tmp_path: Path) -> None:
    day = Day(out=tmp_path / "out", seconds=7)  # of which some stay unused
    day.run([fake("hanging", limit=500)])
    hanging = results(day.out)["parts"]["hanging"]
    assert hanging["state"] == "out of time"
    assert hanging["seconds"] < 30


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_stop_signal_ends_the_part_and_leaves_the_results(tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), "--rehearse", "--out", str(tmp_path), "--parts", "images,prune"]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "gpu-day.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.terminate()
    stdout, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert {part["state"] for part in results(tmp_path)["parts"].values()} == {"stopped", "left out"}
    assert "stopped" in stdout


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), "--out", str(tmp_path / "out"), "--parts", "engin"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no part 'engin'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_fetching_copies_the_tars_and_says_how_much_travels(tmp_path: Path) -> None:
    tar = tmp_path / "some images.tar.xz"
    tar.write_bytes(b"x" * 2**20)
    command = [sys.executable, str(FETCH), "--packages", "--folder", str(tmp_path / "data"), "--train", str(tar)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "git" in done.stderr:
        pytest.skip("this is no git checkout")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train.tar.xz"]
    assert "1.0 MiB; with the checkout" in done.stdout
    assert "gpu_day.py --minutes 9" in done.stdout
    tar.write_bytes(b"x" * 65 * 2**20)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "more than 64 MiB" in done.stderr


def test_the_epochs_of_a_fast_teacher_follow_from_the_time() -> None:
    torch.manual_seed(0)
    known = NETWORKS["digits_cnn_small"]
    network = known.build(num_classes=10, in_channels=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    preprocessing = Preprocessing(mean=known.mean, std=known.std, image_size=known.image_size)
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8), torch.arange(64) % 10, preprocessing
    recipe = replace(FAST, batch_size=16)
    assert epochs_within(0.0, network, *images, recipe=recipe) == 1
    assert epochs_within(30.0, network, *images, recipe=recipe) > 1
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    train(network, *images, recipe=replace(recipe, epochs=2))
    assert not network.training
    assert not torch.equal(network.state_dict()["linear.weight"], before["linear.weight"])


def test_all_parts_are_rehearsed(tmp_path: Path) -> None:
    """One to two minutes on two cores; each part starts Python and imports torch."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--rehearse", "--minutes", "15", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    errors = [part["error"] for part in found["parts"].values() if "error" in part]
    assert errors == []
    assert [(name, part["state"]) for name, part in found["parts"].items()] == [(part.name, "done") for part in PARTS]
    measured = {name: part["result"] for name, part in found["parts"].items()}
    (engine,) = measured["engine"]["engine"].values()
    assert {"published", "eager", "compiled", "bare", "over_bare", "peak_mib", "folded_over_compiled"} <= engine.keys()
    cifar = measured["cifar"]
    assert {"decoding", "teacher", "images", "student"} == cifar["seconds"].keys()
    assert 0 < cifar["images"]["count"] < 8000, "stopped by a signal"
    assert 0 <= cifar["student"]["agreement"] <= 1
    assert set(measured["images"]["seconds_an_image"]) == {"imagenet-deepinversion", "natural-large"}
    (training,) = measured["training"]["training"].values()
    assert all(
        {"bare", "webdataset", "webdataset_over_bare"} <= training[form].keys() for form in ("eager", "compiled")
    )
    assert measured["prune"]["report"]["filters_after"] < measured["prune"]["report"]["filters_before"]
    assert measured["prune"]["latency_ms_before_and_after"]
    assert measured["exactness"]["bytes_equal"] == {"eager": True, "compiled": True}
    assert measured["exactness"]["within_bounds"] == {"bfloat16": True, "device": True}
    assert measured["exactness"]["labels"]["share"] == 1
    assert measured["suite"]["passed"] > 0
    assert measured["suite"]["failures"] == {}
    assert all(result["summary"] for result in measured.values())
    assert len(list(tmp_path.iterdir())) <= MOST_FILES
    print(done.stdout)
