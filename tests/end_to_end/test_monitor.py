"""``di-shards show --watch``: during a real run, on a terminal, as plain lines, and when it is interrupted."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamdistill.shared.shards.records import ShardFailure, write_failure

Di = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
Meanwhile = Callable[..., None]

BIN = Path(sys.executable).parent
PATIENCE = 120  # seconds, for a machine that is busy with other work


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """``meanwhile(a, b)``: call ``a`` between the first and second status, ``b`` between the second and third."""

    def plan(*events: Callable[[], object]) -> None:
        left = iter(events)
        monkeypatch.setattr(time, "sleep", lambda seconds: next(left)())

    return plan


def ctrl_c() -> None:
    raise KeyboardInterrupt


def fail(folder: Path, number: int) -> None:
    (folder / f"{number:06d}.json").unlink()
    reason = f"shard {number:06d} ran into NaN"
    write_failure(folder, number, ShardFailure(reason=reason, worker="node1:7"))


def test_a_run_of_two_workers_from_before_its_start_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    watching = [BIN / "di-shards", "show", out, "--watch", "--every", "0.1", "--json"]
    options = ["--images", "48", "--shard-size", "4", "--steps", "200", "--workers", "2", "--out", out]
    lines = tmp_path / "lines"
    # Into a file: a pipe that nobody reads is full after some seconds, and the monitor would wait.
    with lines.open("w") as file, subprocess.Popen(watching, stdout=file, stderr=subprocess.PIPE, text=True) as monitor:
        try:
            deadline = time.monotonic() + PATIENCE
            while "\n" not in lines.read_text():  # the monitor runs, so the run can begin
                assert time.monotonic() < deadline
                time.sleep(0.05)
            done = subprocess.run(
                [BIN / "di-invert", "--teacher", "digits_cnn", *options],
                capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            _, errors = monitor.communicate(timeout=PATIENCE)
        finally:
            monitor.kill()
    assert (monitor.returncode, errors) == (0, "")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    states = [status["state"] for status in found]
    assert (states[0], states[-1]) == ("no_folder", "done")
    assert "working" in states, states
    for key in ("shards", "images"):
        values = [status[key] for status in found]
        assert values == sorted(values)
        assert len(set(values)) > 3, "the progress was visible"
    last = found[-1]
    assert (last["shards"], last["shards_planned"], last["images"], last["images_planned"]) == (12, 12, 48, 48)
    assert (last["failed"], last["failures"], last["seconds_left"]) == (0, [], 0)
    assert sum(worker["shards"] for worker in last["workers"]) == 12
    assert len(last["workers"]) in (1, 2)  # on a busy machine, one may make all shards before the other starts
    assert all(worker["images_per_second"] > 0 for worker in last["workers"])
    assert all(status["images_per_second"] > 0 for status in found if status["state"] == "working")


def test_on_a_terminal_the_view_changes_in_place(shards: Path) -> None:
    pty = pytest.importorskip("pty", reason="terminals are those of POSIX")
    record = (shards / "000001.json").read_bytes()
    fail(shards, 1)
    os.utime(shards / "000000.json")  # a worker is running, so the command waits
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TTY_COMPATIBLE")}
    environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [BIN / "di-shards", "show", shards.name, "--watch", "--every", "0.1"]  # a long path would be shortened
    own_end, command_end = pty.openpty()
    with subprocess.Popen(
        command, stdin=command_end, stdout=command_end, stderr=command_end, env=environ, cwd=shards.parent
    ) as process:
        os.close(command_end)
        seen, deadline = "", time.monotonic() + PATIENCE
        try:
            while process.poll() is None or select.select([own_end], [], [], 0)[0]:
                assert time.monotonic() < deadline, seen
                if select.select([own_end], [], [], 0.1)[0]:
                    try:
                        seen += os.read(own_end, 65536).decode(errors="replace")
                    except OSError:  # the error on Linux when the other end is closed
                        break
                if "ran into NaN" in seen and not (shards / "000001.json").exists():
                    (shards / "000001.json").write_bytes(record)
            code = process.wait(PATIENCE)
        finally:
            process.kill()
            os.close(own_end)
    assert code == 0, seen
    for words in ("digits_cnn", "1 of 2 shards, 20 of 40 images, 1 failed", "50 %", "last shard", "100 %", "done"):
        assert words in seen
    assert "\x1b[1A" in seen, "the cursor moved up to replace the earlier view"
    assert "Traceback" not in seen


def test_a_line_for_each_change(di: Di, shards: Path, meanwhile: Meanwhile) -> None:
    record, away = shards / "000001.json", shards.with_name("away")
    text = record.read_text()
    hour_ago = time.time() - 3600
    os.utime(shards / "000000.json", (hour_ago, hour_ago))
    shards.rename(away)
    meanwhile(
        lambda: None,
        lambda: away.rename(shards) and record.unlink(),
        lambda: None,
        lambda: record.write_text(text),
    )
    code, stdout, stderr = di("di-shards", "show", shards, "--watch")
    assert (code, stderr) == (0, "")
    assert [line.removeprefix(f"{shards}: ") for line in stdout.splitlines()] == [
        "the folder does not exist yet, waiting for di-invert",
        "1 of 2 shards, 20 of 40 images, no worker is running, last shard 60 min ago",
        "2 of 2 shards, 40 of 40 images, done",
    ]


def test_ctrl_c_stops_watching(di: Di, shards: Path, meanwhile: Meanwhile) -> None:
    (shards / "000001.json").unlink()
    meanwhile(ctrl_c)
    code, stdout, stderr = di("di-shards", "show", shards, "--watch", "--json")
    assert (code, stderr.strip()) == (130, "error: stopped by Ctrl-C; run the same command again to go on")
    assert json.loads(stdout)["shards"] == 1


def test_watching_writes_nothing(di: Di, shards: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [shards, *shards.iterdir()]}
    assert di("di-shards", "show", shards, "--watch")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in [shards, *shards.iterdir()]} == before


def test_a_closed_pipe_is_reported_in_one_sentence(shards: Path) -> None:
    (shards / "000001.json").unlink()
    command = [BIN / "di-shards", "show", shards, "--watch", "--every", "0.1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (
            process.stderr.read() == "error: the reader of stdout closed it; run the command again to go on watching\n"
        )
        assert process.wait(PATIENCE) == 1


def test_bad_input(fails: Fails, shards: Path) -> None:
    for every in ("0", "nan", "1e9"):
        fails("di-shards", "show", shards, "--watch", "--every", every, code=2, says=["--every", "0.1..3600"])
    fails("di-shards", "show", shards / "manifest.json", "--watch", code=2, says=["is a file"])
    (shards / "000001.json").write_text("{}")
    fails("di-shards", "show", shards, "--watch", code=1, says=["000001.json", "damaged", "di-invert"])


def test_show_counts_failed_shards(di: Di, shards: Path) -> None:
    assert "failed" not in json.loads(di("di-shards", "show", shards, "--json")[1])
    fail(shards, 1)
    shown = json.loads(di("di-shards", "show", shards, "--json")[1])
    assert (shown["shards"], shown["failed"]) == (1, 1)


def test_a_run_that_ended_with_failed_shards(di: Di, shards: Path) -> None:
    fail(shards, 1)
    hour_ago = time.time() - 3600
    os.utime(shards / "000000.json", (hour_ago, hour_ago))
    code, stdout, stderr = di("di-shards", "show", shards, "--watch")
    assert (code, stderr) == (3, "error: 1 of 2 shards failed and no worker is running: run the same di-invert again\n")
    assert [line.removeprefix(f"{shards}: ") for line in stdout.splitlines()] == [
        "shard 000001 failed on node1:7: ran into NaN",
        "1 of 2 shards, 20 of 40 images, 1 failed, no worker is running, last shard 60 min ago",
    ]
