"""Claims: what one process has in hand no other gets, and a death gives it back."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.shared import claims
from dreamdistill.shared.claims import Claims

pytest.importorskip("fcntl")

# Takes shards 3 and 5 and the folder, says so, and waits to be killed.
HOLDER = """
import sys
from pathlib import Path
from dreamdistill.shared.claims import Claims
with Claims(Path(sys.argv[1])) as held, held.folder():
    print(held.take(3) and held.take(5), flush=True)
    sys.stdin.read()
"""


def test_a_claim_holds_until_its_process_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder, Claims(tmp_path) as mine:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not mine.take(3)
        assert mine.take(4)
        assert not mine.nothing_in_hand()
        holder.send_signal(signal.SIGKILL)
        with mine.folder():  # waits for the dead one's lock to go
            assert mine.take(3)
            assert mine.take(5)
        mine.give_back(4)
        assert mine.nothing_in_hand()


def test_without_locks_every_claim_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # as NFS without its lock daemon says

    monkeypatch.setattr(claims.fcntl, "lockf", refuse)
    with Claims(tmp_path) as mine, mine.folder():
        assert mine.take(3)
        assert mine.nothing_in_hand()
        mine.give_back(3)
