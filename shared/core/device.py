"""The device to work on, the processors there are, and arithmetic that repeats."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .errors import ConfigError


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
