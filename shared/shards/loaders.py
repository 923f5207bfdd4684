"""Batches out of a shard folder: NVIDIA DALI where it is installed, webdataset elsewhere, the same samples from both.

A loader gives decoded, unaugmented uint8 images; augmentation is the trainer's, on the training device, so it is the
same whatever the loader. Both shuffle anew each epoch and can be put back to the start of any epoch.

Several processes share each batch: all see the same samples in the same order, and decode their own rows of it.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from ..core.errors import ConfigError
from ..core.launch import Place
from .batches import Loader
from .dali_loader import DaliLoader
from .folder import ShardFolder
from .webdataset_loader import WebDatasetLoader

ALONE = Place()


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
) -> Loader:
    """A loader over a shard folder.

    Args:
        kind: ``dali``, ``webdataset``, or ``auto`` for DALI if it is installed.
        batch_size: of all processes together.
        device: where batches are put; with CUDA, DALI decodes JPEG there.
        threads: CPU threads of DALI.
        place: this process's, among those that share each batch.

    Raises:
        ConfigError: ``dali`` was asked for and is not installed.
    """
    common: dict[str, Any] = {
        "batch_size": batch_size,
        "shuffle": shuffle,
        "seed": seed,
        "device": device,
        "place": place,
    }
    if resolve_loader(kind) == "webdataset":
        return WebDatasetLoader(folder, **common)
    return DaliLoader(folder, threads=threads, **common)


def resolve_loader(kind: str) -> str:
    """``auto`` is ``dali`` if it is installed, else ``webdataset``.

    Raises:
        ConfigError: ``dali`` was asked for and is not installed.
    """
    if kind == "auto":
        return "dali" if dali_is_installed() else "webdataset"
    if kind == "dali" and not dali_is_installed():
        raise ConfigError(
            "--loader dali needs NVIDIA DALI: pip install 'dreamdistill[dali]' (CUDA 12: 'dreamdistill[dali-cuda12]'),"
            " or use --loader webdataset"
        )
    return kind


def dali_is_installed() -> bool:
    """Whether DALI really imports: the project called plain ``nvidia-dali`` is an empty decoy."""
    try:
        importlib.import_module("nvidia.dali.fn")
    except ImportError:
        return False
    return True
