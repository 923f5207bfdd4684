"""ShardLocks: what one process has in hand no other gets, and a death gives it back."""

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

# Takes shards 3 and 5 and the folder, says so, and waits to be killed.
HOLDER = """
import sys
from pathlib import Path
from dreamdistill.shared.shards.locks import ShardLocks
with ShardLocks(Path(sys.argv[1])) as held, held.folder():
    print(held.try_lock(3) and held.try_lock(5), flush=True)
    sys.stdin.read()
"""


def test_a_claim_holds_until_its_process_dies(tmp_path: Path) -> None:
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
        with mine.folder():  # waits for the dead one's lock to go
            assert mine.try_lock(3)
            assert mine.try_lock(5)
        mine.unlock(4)
        assert mine.all_free()


def test_without_locks_every_claim_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # as NFS without its lock daemon says

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with ShardLocks(tmp_path) as mine, mine.folder():
        assert mine.try_lock(3)
        assert mine.all_free()
        mine.unlock(3)
