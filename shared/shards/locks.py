"""Locks on the shards of a folder: POSIX locks on single bytes of one empty file, byte N for shard N.

The kernel, or the server of a shared file system, frees a lock when its process ends in any way. So no lock becomes
stale, and neither heartbeats nor clocks are needed. On a file system without locks, every lock is granted. Then two
workers may make the same shard, which costs time but does no harm: both write the same bytes, each file atomically.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ..core.errors import DreamError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCKS = ".locks"
_FOLDER = 2**40  # the byte of the folder itself: manifest.json and _info.json
_HELD = (errno.EACCES, errno.EAGAIN)  # the POSIX errors for a lock that another process holds
SAY_AFTER = 10.0  # seconds of waiting for the folder's lock, after which the user is told
_ASK_EVERY = 0.1, 1.0  # seconds: at first, and at last
_FLOCK = "hhqqi0q"  # Linux's struct flock: type, whence, start, length, pid


class ShardLocks:
    """The locks of one folder. They exclude other processes, but not other users in the same process.

    A context manager, which unlocks everything at its end. Closing *any other* ShardLocks of the same folder in the
    same process does so too, because POSIX locks belong to the process. So use only one at a time in a process.

    Raises:
        OSError: the lock file cannot be opened for writing.
        DreamError: it is no regular file.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCKS
        self._file = _open_regular(self._path)

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
        """A context that holds the folder's lock, and waits for it first: for reading and then writing the manifest.

        After :data:`SAY_AFTER` seconds, a line on stderr says that it waits, and for which process.
        """
        self._wait_for_folder()
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

    def _wait_for_folder(self) -> None:
        # Asks again and again: signals and Ctrl-C are handled in between, on every file system.
        started, said, pause = time.monotonic(), False, _ASK_EVERY[0]
        while not self._lock(_FOLDER, 1):
            if not said and time.monotonic() - started >= SAY_AFTER:
                said = True
                print(f"waiting for the lock of {self._path.parent}, which {self._holder()} holds", file=sys.stderr)
            time.sleep(pause)
            pause = min(_ASK_EVERY[1], 1.2 * pause)

    def _holder(self) -> str:
        """Who holds the folder's lock, in words, as far as the kernel knows."""
        pid = 0
        if fcntl is not None and sys.platform == "linux" and sys.maxsize > 2**32:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _FOLDER, 1, 0)
            with contextlib.suppress(OSError):
                kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
                pid = 0 if kind == fcntl.F_UNLCK else pid
        if pid <= 0:  # a file server does not tell
            return "another process, maybe on another machine,"
        with contextlib.suppress(OSError):
            return f"process {pid} of this machine ({Path(f'/proc/{pid}/comm').read_text().strip()!r})"
        return f"process {pid} of this machine"

    def _lock(self, start: int, length: int) -> bool:
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            except OSError as error:
                return error.errno not in _HELD  # any other error: the file system has no locks
        return True

    def _unlock(self, start: int, length: int) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)


def _open_regular(path: Path) -> int:
    """Open the lock file, and never what a link names: the folder may be one in which strangers write."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _not_regular(path)
    return file


def _not_regular(path: Path) -> DreamError:
    return DreamError(f"{path} must be an empty file, and is a link or a folder or something else: delete it")
