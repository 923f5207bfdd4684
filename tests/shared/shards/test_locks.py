"""ShardLocks: a lock excludes other processes, and the end of its process frees it."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.shared.shards import locks
from dreamdistill.shared.shards.locks import ShardLocks

pytest.importorskip("fcntl")

# Locks shards 3 and 5 and the folder, reports it, and waits until it is killed.
HOLDER = """
import sys
from pathlib import Path
from dreamdistill.shared.shards.locks import ShardLocks
with ShardLocks(Path(sys.argv[1])) as held, held.folder():
    print(held.try_lock(3) and held.try_lock(5), flush=True)
    sys.stdin.read()
"""


def test_a_lock_holds_until_its_process_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder, ShardLocks(tmp_path) as mine:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not mine.try_lock(3)
        assert mine.try_lock(4)
        assert not mine.all_free()
        holder.send_signal(signal.SIGKILL)
        with mine.folder():  # waits until the lock of the killed process is free
            assert mine.try_lock(3)
            assert mine.try_lock(5)
        mine.unlock(4)
        assert mine.all_free()


def test_a_file_system_without_locks_grants_every_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # the error of NFS without its lock daemon

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with ShardLocks(tmp_path) as mine, mine.folder():
        assert mine.try_lock(3)
        assert mine.all_free()
        mine.unlock(3)
