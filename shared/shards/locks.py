"""Locks on the shards of a folder: single bytes of one empty file, byte N for shard N.

The kernel, or the server of a shared file system, frees a lock when its process dies, however it dies. So no lock goes
stale, and there is no heartbeat and no clock. Where a file system has no locks, every lock is granted: two workers may
then make the same shard, which wastes time and nothing else, since both write the same bytes, each file whole or not.
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
_FOLDER = 2**40  # the byte that stands for manifest.json and _info.json
_HELD = (errno.EACCES, errno.EAGAIN)  # how POSIX says that another process has the lock


class ShardLocks:
    """The locks of one folder. Within one process they do not exclude one another.

    Closing unlocks everything, and so does closing *any other* ShardLocks of the same folder in the same process (POSIX
    locks work so). Therefore a process has one at a time.

    Raises:
        OSError: the folder cannot be written to.
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
        """Lock a shard; False if another process has it locked."""
        return self._lock(number, 1)

    def unlock(self, number: int) -> None:
        self._unlock(number, 1)

    @contextlib.contextmanager
    def folder(self) -> Iterator[None]:
        """The lock of the folder, waited for: hold it to read and then write the manifest."""
        self._lock(_FOLDER, 1, wait=True)
        try:
            yield
        finally:
            self._unlock(_FOLDER, 1)

    def all_free(self) -> bool:
        """Whether no other process has any shard locked."""
        free = self._lock(0, _FOLDER)
        if free:
            self._unlock(0, _FOLDER)
        return free

    def _lock(self, start: int, length: int, *, wait: bool = False) -> bool:
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            except OSError as error:
                return error.errno not in _HELD  # any other error means a file system without locks
        return True

    def _unlock(self, start: int, length: int) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)
