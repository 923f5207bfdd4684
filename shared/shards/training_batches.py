"""The samples of a shard folder as batches for a custom training loop.

Example::

    for images, logits, targets in training_batches("shards"):
        loss = F.kl_div(student(images).log_softmax(1), logits.softmax(1), reduction="batchmean")
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.device import pick_device
from ..core.errors import ConfigError
from ..core.numerics import derive_seed
from ..models.preprocessing import Preprocessing
from .batches import Loader
from .folder import ShardFolder
from .loaders import make_loader, resolve_loader
from .verification import check_indexes, verify_once


class TrainingBatch(NamedTuple):
    """A batch of N samples.

    Attributes:
        images: float32 (N, C, H, W), normalised with the teacher's mean and std: ``(pixel / 255 - mean) / std``.
        logits: float32 (N, K), the teacher's logits for these images, as stored (float16 precision).
        targets: int64 (N,), the classes for which the images were made.
    """

    images: Tensor
    logits: Tensor
    targets: Tensor


class TrainingBatches:
    """See :func:`training_batches`."""

    def __init__(
        self, folder: ShardFolder, *, batch_size: int, shuffle: bool, seed: int, device: torch.device, kind: str
    ) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.device = device
        self.kind = kind
        self._preprocessing = Preprocessing.of(folder.manifest.teacher)
        self._num_loaders = 0
        self._idle_loader: Loader | None = None

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return self.folder.num_batches(self.batch_size)

    def __iter__(self) -> Iterator[TrainingBatch]:
        # A loader goes on to its next shuffle only at the end of an epoch. So an iteration takes the loader and returns
        # it there. After an epoch that was left early, or beside one that still runs, the next takes a new loader.
        loader = self._new_loader() if self._idle_loader is None else self._idle_loader
        self._idle_loader = None
        for batch in loader:
            yield TrainingBatch(self._preprocessing.normalize(batch.images), batch.logits, batch.targets)
        self._idle_loader = loader

    def _new_loader(self) -> Loader:
        seed = derive_seed(self.seed, self._num_loaders)
        self._num_loaders += 1
        return make_loader(
            self.folder, self.kind, batch_size=self.batch_size, shuffle=self.shuffle, seed=seed, device=self.device
        )


def training_batches(
    folder: ShardFolder | Path | str,
    *,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    loader: str = "auto",
    verify: bool = True,
) -> TrainingBatches:
    """The samples of a shard folder in batches. Each iteration is one epoch; the last batch may be smaller.

    ``len()`` gives the number of batches per epoch. The images are not augmented.

    Args:
        folder: the shard folder, or its path.
        batch_size: samples in a batch, 1 or more.
        shuffle: whether each epoch has another random order; else all have the folder's order.
        seed: seed of the shuffles, 0 or more. The same seed and loader give the same orders.
        device: where the tensors go: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        loader: ``dali``, ``webdataset``, or ``auto`` for DALI if it is installed.
        verify: check every byte of the shards first, those that were checked before excepted; else the indexes alone.

    Raises:
        ConfigError: an argument is invalid, the folder has no complete shard, or DALI is requested and not installed.
        DreamError: the folder is damaged.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be 1 or more, not {batch_size}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")
    opened = folder if isinstance(folder, ShardFolder) else ShardFolder.open(Path(folder))
    (verify_once if verify else check_indexes)(opened)
    return TrainingBatches(
        opened,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        device=pick_device(str(device)),
        kind=resolve_loader(loader),
    )
