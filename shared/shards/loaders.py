"""The choice of a loader for a shard folder: NVIDIA DALI if it is installed, else webdataset.

Both loaders give the same samples: decoded uint8 images without augmentation. The trainer augments them on the
training device, so augmentation does not depend on the loader. Both shuffle differently in each epoch, and both can be
set back to the start of any epoch. A set that fits into memory is decoded once, by either of them.

Several processes share each batch: all read the same samples in the same order, and each decodes its own rows.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from ..core.errors import ConfigError, nearest
from ..core.launch import Place
from .batches import Loader
from .dali_loader import DaliLoader
from .folder import ShardFolder
from .memory_loader import MemoryLoader, fits_in_memory
from .webdataset_loader import WebDatasetLoader

LOADERS = ("auto", "dali", "webdataset")
ALONE = Place()  # a single process


def make_loader(
    folder: ShardFolder,
    kind: str,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    device: torch.device,
    threads: int = 2,
    place: Place = ALONE,
    in_memory: bool | None = None,
) -> Loader:
    """Make a loader for a shard folder.

    Args:
        kind: ``dali``, ``webdataset``, or ``auto`` for DALI if it is installed.
        batch_size: samples of a batch, of all processes together.
        device: where the batches go; with CUDA, DALI decodes JPEG there.
        threads: CPU threads of DALI.
        place: the place of this process among those that share each batch.
        in_memory: decode the set once and keep it on the device, where it is read again; None does so if it fits.

    Raises:
        ConfigError: there is no loader ``kind``, or DALI is requested and not installed.
    """
    common: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "device": device, "threads": threads}
    if in_memory or (in_memory is None and fits_in_memory(folder, device)):
        source = _streaming(folder, kind, shuffle=False, place=ALONE, **common)
        return MemoryLoader(folder, source, batch_size=batch_size, shuffle=shuffle, seed=seed, place=place)
    return _streaming(folder, kind, shuffle=shuffle, place=place, **common)


def _streaming(folder: ShardFolder, kind: str, *, threads: int, **settings: Any) -> Loader:
    """A loader that decodes every sample in every epoch."""
    if resolve_loader(kind) == "webdataset":
        return WebDatasetLoader(folder, **settings)
    return DaliLoader(folder, threads=threads, **settings)


def resolve_loader(kind: str) -> str:
    """``dali`` or ``webdataset``, as named. ``auto`` is ``dali`` if it is installed, else ``webdataset``.

    Raises:
        ConfigError: there is no loader ``kind``, or DALI is requested and not installed.
    """
    if kind not in LOADERS:
        raise ConfigError(f"there is no loader {kind!r}: use {', '.join(LOADERS)}{nearest(kind, LOADERS)}")
    if kind == "auto":
        return "dali" if dali_is_installed() else "webdataset"
    if kind == "dali" and not dali_is_installed():
        raise ConfigError(
            "--loader dali needs NVIDIA DALI: pip install 'dreamdistill[dali]' (CUDA 12: 'dreamdistill[dali-cuda12]'),"
            " or use --loader webdataset"
        )
    return kind


def dali_is_installed() -> bool:
    """Whether DALI can be imported. The package that is called plain ``nvidia-dali`` is an empty decoy."""
    try:
        importlib.import_module("nvidia.dali.fn")
    except ImportError:
        return False
    return True
