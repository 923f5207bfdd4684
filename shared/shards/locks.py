"""Locks on the shards of a folder: POSIX locks on single bytes of one empty file, byte N for shard N.

The kernel, or the server of a shared file system, frees a lock when its process ends in any way. So no lock becomes
stale, and neither heartbeats nor clocks are needed. On a file system without locks, every lock is granted. Then two
workers may make the same shard, which costs time but does no harm: both write the same bytes, each file atomically.
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

LOCKS = ".locks"
_FOLDER = 2**40  # the byte of the folder itself: manifest.json and _info.json
_HELD = (errno.EACCES, errno.EAGAIN)  # the POSIX errors for a lock that another process holds


class ShardLocks:
    """The locks of one folder. They exclude other processes, but not other users in the same process.

    A context manager, which unlocks everything at its end. Closing *any other* ShardLocks of the same folder in the
    same process does so too, because POSIX locks belong to the process. So use only one at a time in a process.

    Raises:
        OSError: the lock file cannot be opened for writing.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / LOCKS, os.O_RDWR | os.O_CREAT, 0o666)

    def __enter__(self) -> ShardLocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def try_lock(self, number: int) -> bool:
        """Lock a shard. Return False if another process holds its lock."""
        return self._lock(number, 1)

    def unlock(self, number: int) -> None:
        """Unlock a shard."""
        self._unlock(number, 1)

    @contextlib.contextmanager
    def folder(self) -> Iterator[None]:
        """A context that holds the folder's lock, and waits for it first: for reading and then writing the manifest."""
        self._lock(_FOLDER, 1, wait=True)
        try:
            yield
        finally:
            self._unlock(_FOLDER, 1)

    def all_free(self) -> bool:
        """Whether no other process holds the lock of any shard."""
        free = self._lock(0, _FOLDER)
        if free:
            self._unlock(0, _FOLDER)
        return free

    def _lock(self, start: int, length: int, *, wait: bool = False) -> bool:
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            except OSError as error:
                return error.errno not in _HELD  # any other error: the file system has no locks
        return True

    def _unlock(self, start: int, length: int) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)
