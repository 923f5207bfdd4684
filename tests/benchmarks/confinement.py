"""Lets this process and its children write in one folder alone, where they would have the rights to write anywhere.

Random command lines name devices as outputs, and root may replace them. So for root, everything but the folder is
mounted read-only, in a mount namespace that only this process and its children see. Others are held back by the rights
of files.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_KEPT = (errno.EINVAL, errno.EPERM, errno.ENOENT, errno.EBUSY)  # mounts that cannot be changed; writing is tried below


def run_confined(work: Callable[[Path], int]) -> int:
    """Call ``work`` with an empty folder, in a process that can write nowhere else. Returns what it returns.

    The folder is deleted afterwards, by this process.
    """
    with tempfile.TemporaryDirectory(prefix="confined") as name:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                die_with_parent()
                _confine(Path(name).resolve())
                code = work(Path(name).resolve())
            except SystemExit as end:
                print(end, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_with_parent() -> None:
    """Have this process killed when its parent ends, however it ends (Linux)."""
    _call("prctl", _PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _confine(folder: Path) -> None:
    """Make everything but this folder read-only for the process. It must have no threads yet.

    Raises:
        SystemExit: root cannot be held back on this system.
    """
    if os.geteuid() != 0:
        return
    try:
        _call("unshare", _NEW_MOUNTS)
        _mount(None, "/", _RECURSIVE | _PRIVATE)
        _mount(str(folder), str(folder), _BIND)
        for path in _mount_points():
            if path != str(folder):
                try:
                    _mount(None, path, _REMOUNT | _BIND | _READ_ONLY)
                except OSError as error:
                    if error.errno not in _KEPT:
                        raise
        _call("mount", b"tmpfs", b"/dev/shm", b"tmpfs", ctypes.c_ulong(0), None)  # its own shared memory
        _check(folder)
    except OSError as error:
        raise SystemExit(f"root cannot be confined to {folder} here ({error}): run this as another user") from error


def _check(folder: Path) -> None:
    """Try to write where it must not be possible, and where it must.

    Raises:
        OSError: it is otherwise.
    """
    (folder / ".writable").touch()
    (folder / ".writable").unlink()
    for elsewhere in ("/", "/dev", "/etc", str(Path.home()), str(folder.parent), str(Path(__file__).parent)):
        probe = Path(elsewhere, f".confined.{os.getpid()}")
        try:
            probe.touch()
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
                continue
            raise
        probe.unlink()
        raise OSError(errno.EPERM, f"{elsewhere} is still writable")


def _mount_points() -> list[str]:
    """Where something is mounted; what is deepest comes first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {line.split()[4].encode().decode("unicode_escape") for line in lines}
    return sorted(found, key=len, reverse=True)


def _mount(source: str | None, target: str, flags: int) -> None:
    _call("mount", None if source is None else source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
