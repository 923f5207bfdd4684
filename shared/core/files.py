"""Reading with a limit, and atomic writes: a file is either complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_TEMPORARY = ".tmp"
_STALE_AFTER = 24 * 3600.0  # seconds; no file takes a day to write


def read_limited(path: Path, limit: int) -> bytes:
    """Read a regular file. A pipe would be waited for without end, and a device read without end.

    Args:
        limit: largest size, in bytes.

    Raises:
        OSError: it cannot be read; FileNotFoundError where there is nothing.
        ValueError: it is no regular file, or larger.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return data


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file atomically: write to a temporary name, fsync, rename.

    The temporary name contains the host and the process id. So writers never share a temporary file, and a later run
    can recognise the files of writers that died (:func:`remove_stale_temporaries`).
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # a power cut must not undo the rename either
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    write_bytes(path, text.encode())


def remove_stale_temporaries(folder: Path) -> None:
    """Delete the temporary files that killed writers left in a folder.

    On this host, these are the files of processes that no longer exist. Processes on other hosts cannot be checked, so
    their files are deleted when they are a day older than the folder's last change, by the file system's clock.
    """
    for path in folder.glob(f".*{_TEMPORARY}"):
        host, _, pid = path.name.removesuffix(_TEMPORARY).rpartition(".")
        with contextlib.suppress(FileNotFoundError):
            if host.endswith(f".{socket.gethostname()}"):
                stale = pid.isdigit() and not _alive(int(pid))
            else:
                stale = folder.stat().st_mtime - path.stat().st_mtime > _STALE_AFTER
            if stale:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
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
