"""Reading with a limit, and atomic writes: a file is either complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import ConfigError, DreamError

_TEMPORARY = ".tmp"
_STALE_AFTER = 24 * 3600.0  # seconds; no file takes a day to write
_being_written: set[str] = set()  # names of this process's temporary files


def read_limited(path: Path, limit: int) -> bytes:
    """Read a regular file. A pipe would be waited for without end, and a device read without end.

    Args:
        limit: largest size, in bytes.

    Raises:
        OSError: it cannot be read; FileNotFoundError where there is nothing.
        ValueError: it is no regular file, or larger.
    """
    if (path.exists() or path.is_symlink()) and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return data


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file atomically: write to a temporary name, fsync, rename.

    The temporary file is always a new one, with a name that nobody can guess: where strangers may write too, a link
    that they have put there is not followed. The name contains the host and the process id, so that a later run can
    recognise the files of writers that died (:func:`remove_stale_temporaries`). If ``path`` is a link, it is replaced;
    a device or a pipe is not, which root could.

    Raises:
        OSError: the file cannot be written.
        DreamError: ``path`` is a folder, a device or a pipe.
    """
    if path.exists() and not path.is_symlink() and not (path.is_file() or path.is_dir()):
        raise DreamError(f"{path} is no regular file, and is left alone: delete it, or name another file")
    writer = f"{socket.gethostname()}.{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{writer}{_TEMPORARY}")
    _being_written.add(temporary.name)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except IsADirectoryError as error:
        raise _is_a_folder(path) from error
    finally:
        temporary.unlink(missing_ok=True)
        _being_written.discard(temporary.name)
    if os.name == "posix":  # a power cut must not undo the rename either
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, and delete what killed writers of the same file left.

    That lists the folder. Workers of a cluster, with a hundred thousand files in one folder, write by
    :func:`atomic_write`, and :func:`remove_stale_temporaries` is called once for the folder.
    """
    remove_stale_temporaries(path.parent, name=path.name)
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), as :func:`write_bytes`."""
    write_bytes(path, text.encode())


def remove_file(path: Path) -> None:
    """Delete a file, or a link, if there is one.

    Raises:
        OSError: it cannot be deleted.
        DreamError: it is a folder.
    """
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError) as error:  # macOS says the second
        if path.is_dir() and not path.is_symlink():
            raise _is_a_folder(path) from error
        raise


def remove_stale_temporaries(folder: Path, *, name: str | None = None) -> None:
    """Delete the temporary files that killed writers left in a folder; with ``name``, those of this file alone.

    On this host, these are the files of processes that no longer exist, and those of an earlier process that had this
    one's id. Processes on other hosts cannot be checked, so their files are deleted when they are a day older than the
    folder's last change, by the file system's clock. What cannot be deleted stays.
    """
    here = f".{socket.gethostname()}"
    file = ".+" if name is None else re.escape(name)
    ours = re.compile(rf"(?P<before_pid>\.{file}\.[0-9a-f]{{8}}\..+)\.(?P<pid>\d{{1,18}}){re.escape(_TEMPORARY)}")
    for path in folder.glob(f".*{_TEMPORARY}"):
        if (found := ours.fullmatch(path.name)) is None:
            continue
        pid = int(found["pid"])
        with contextlib.suppress(OSError):
            if not found["before_pid"].endswith(here):
                stale = folder.stat().st_mtime - path.stat().st_mtime > _STALE_AFTER
            elif pid == os.getpid():
                stale = path.name not in _being_written
            else:
                stale = not _alive(pid)
            if stale:
                path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {path}: {error.strerror}") from error


def check_is_file_place(path: Path) -> None:
    """Refuse a place that is taken by something else than a file: root could put a file in the place of a device.

    Raises:
        ConfigError: it is a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"--out {path} is no file: name another one")


def cut_path(text: str) -> str:
    """An absolute path's last part, also of ``/path/FILE.py:factory``; any other text as it is. For other people."""
    return Path(text).name if Path(text).is_absolute() or re.match(r"[A-Za-z]:[\\/]", text) else text


def _is_a_folder(path: Path) -> DreamError:
    return DreamError(f"{path} is a folder, and a file belongs there: move the folder away")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
