"""Batches of a set that is decoded once and then kept on the training device, as uint8.

A small student at 32 pixels takes more images per second than one process can decode. A set that fits is therefore
decoded in the first epoch only; every later batch is one gather on the device.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core.launch import Place, Rows
from .batches import SHUFFLE_BUFFER, Batch, Loader
from .folder import ShardFolder

T = TypeVar("T")
CPU_LIMIT = 2 * 2**30  # bytes
GPU_SHARE = 0.25  # of the memory that is free


def fits_in_memory(folder: ShardFolder, device: torch.device) -> bool:
    """Whether a set, decoded, is small enough to be kept on a device."""
    teacher = folder.manifest.teacher
    sample = teacher.channels * teacher.image_size**2 + 4 * teacher.num_classes + 8  # uint8, float32 and int64
    limit = GPU_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else CPU_LIMIT
    return folder.num_samples * sample <= limit


class MemoryLoader:
    """Keeps a whole set on a device. The samples and their order are those of the webdataset loader.

    Args:
        source: gives every sample once, in the folder's order, on the device; it is read in the first epoch.
        batch_size: samples of a batch, of all processes together.
        place: the place of this process among those that share each batch.
    """

    def __init__(
        self, folder: ShardFolder, source: Loader, *, batch_size: int, shuffle: bool, seed: int, place: Place
    ) -> None:
        self.folder = folder
        self.source = source
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.place = place
        self.epoch = 0  # number of finished epochs, which selects the next shuffle
        self._samples: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return self.folder.num_batches(self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        images, logits, targets = self._load()
        # One copy to the device for the whole epoch: a copy for each batch would wait for the device each time.
        order = torch.tensor(list(self._order())).to(images.device)
        for positions in order.split(self.batch_size):
            rows = Rows.of(len(positions), self.place)
            own = rows.take(positions)
            yield Batch(images[own], logits[own], targets[own], rows)
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def _load(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._samples is None:
            parts = zip(*((batch.images, batch.logits, batch.targets) for batch in self.source), strict=True)
            images, logits, targets = (torch.cat(part) for part in parts)
            self._samples = images, logits, targets
        return self._samples

    def _order(self) -> Iterable[int]:
        """Positions of the samples in this epoch."""
        counts = [record.count for record in self.folder.records.values()]
        if not self.shuffle:
            return range(sum(counts))
        ends = list(accumulate(counts))
        shards = [range(end - count, end) for end, count in zip(ends, counts, strict=True)]
        rng = random.Random(f"{self.seed} {self.epoch}")
        rng.shuffle(shards)
        return streaming_shuffle(chain.from_iterable(shards), SHUFFLE_BUFFER, rng)


def streaming_shuffle(items: Iterable[T], size: int, rng: random.Random) -> Iterator[T]:
    """webdataset's shuffle with a buffer of ``size`` items that is full before the first is taken."""
    buffer: list[T] = []
    stream = iter(items)
    for item in stream:
        buffer.append(item)
        if len(buffer) < size:
            buffer.extend(islice(stream, 1))
        if len(buffer) >= size:
            yield _pick(buffer, rng)
    while buffer:
        yield _pick(buffer, rng)


def _pick(buffer: list[T], rng: random.Random) -> T:
    position = rng.randint(0, len(buffer) - 1)
    item, buffer[position] = buffer[position], buffer[-1]
    buffer.pop()
    return item
