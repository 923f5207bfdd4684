"""Who has what of a shard folder in hand: locks on single bytes of one empty file, byte N for shard N.

The kernel, or the server of a shared file system, frees a lock when its process dies, however it dies. So there is no
claim to go stale, no heartbeat, and no clock. Where a file system has no locks, claims are always granted: two workers
may then make the same shard, which wastes time and nothing else, since both write the same bytes, each whole or not.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CLAIMS = ".claims"
_FOLDER = 2**40  # the byte that stands for manifest.json and _info.json
_HELD = (errno.EACCES, errno.EAGAIN)  # what POSIX lets a lock say that another has


class Claims:
    """The claims of one folder. Within a process, claims do not exclude one another.

    Closing gives everything back, and so does closing *any other* Claims of the same folder in the same process (that
    is how POSIX locks are), so a process has one at a time.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / CLAIMS, os.O_RDWR | os.O_CREAT, 0o666)

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def take(self, number: int) -> bool:
        """Take a shard in hand; False if another process has it."""
        return self._lock(number, 1)

    def give_back(self, number: int) -> None:
        self._unlock(number, 1)

    @contextlib.contextmanager
    def folder(self) -> Iterator[None]:
        """Waits until no other process is in here: for reading and then writing the manifest."""
        self._lock(_FOLDER, 1, wait=True)
        try:
            yield
        finally:
            self._unlock(_FOLDER, 1)

    def nothing_in_hand(self) -> bool:
        """Whether no other process has any shard in hand."""
        free = self._lock(0, _FOLDER)
        if free:
            self._unlock(0, _FOLDER)
        return free

    def _lock(self, start: int, length: int, *, wait: bool = False) -> bool:
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            except OSError as error:
                return error.errno not in _HELD  # anything else is a file system without locks
        return True

    def _unlock(self, start: int, length: int) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)
