"""The device to compute on, the number of available processors, and deterministic arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .errors import ConfigError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name. ``auto`` is a GPU, chosen by local rank in turn, or the CPU if there is no GPU.

    Raises:
        ConfigError: the name is not a device, or this machine does not have the device.
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
    """Number of processors that this process may use. SLURM and containers allow fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _container_cpus(Path("/sys/fs/cgroup/cpu.max"), allowed)))


def device_name(name: str) -> str:
    """The device of that name in words, for a report."""
    device = pick_device(name)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = cpu_count()
    return f"CPU, {cores} core{'' if cores == 1 else 's'}"


def _container_cpus(cpu_max: Path, default: int) -> int:
    """Number of processors in the container's time quota (cgroup v2, ``docker run --cpus 2``), else ``default``."""
    try:
        quota, period = cpu_max.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return default


def make_deterministic() -> None:
    """Give the same bits for the same device type and library versions: no autotuned kernels, and no atomic operations
    where torch has another choice."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
