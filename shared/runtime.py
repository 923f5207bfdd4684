"""The ground every stage stands on: device, threads, seeds, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch

from .errors import ConfigError

_TEMPORARY = ".tmp"
_STALE_AFTER = 24 * 3600.0  # seconds


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` is this process's GPU where there is one (they are taken in turn, by local rank), else the CPU.

    Raises:
        ConfigError: the name is not a device, or the device is not on this machine.
    """
    if name == "auto":
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return torch.device("cuda", local_rank % gpus) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device auto"
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def cpu_count() -> int:
    """The processors this process may use, which under SLURM or in a container are fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _container_cpus(Path("/sys/fs/cgroup/cpu.max"), allowed)))


def _container_cpus(cpu_max: Path, default: int) -> int:
    """Processors' worth of time that the container gets (cgroup v2), if it is limited: ``docker run --cpus 2``."""
    try:
        quota, period = cpu_max.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no cgroup, or "max"
        return default


def make_deterministic() -> None:
    """Same device type and library versions, same bits: no autotuned kernels, no atomics where torch has a choice."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def derive_seed(*parts: int) -> int:
    """One 63-bit seed out of several whole numbers, such that neighbours have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device, *parts: int) -> torch.Generator:
    """A random generator on ``device``, seeded by :func:`derive_seed` of ``parts``."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that is whole or not there: temporary name, fsync, rename.

    The temporary name holds host and process, so that several writers never share one, and a later run can tell a
    dead one's leavings (:func:`remove_stale_temporaries`).
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
    if os.name == "posix":  # the rename itself must survive a power cut too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file that is whole or not there."""
    write_bytes(path, text.encode())


def remove_stale_temporaries(folder: Path) -> None:
    """Delete what killed writers left behind.

    On this host, those are files of dead processes. Other hosts cannot be asked: of theirs, files a day older than the
    folder's last change, both by the file system's clock. No file takes a day to write.
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
