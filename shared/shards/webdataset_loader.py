"""A loader that reads with webdataset and decodes with Pillow."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.launch import Place, Rows
from ..data.images import decode_image
from .batches import SHUFFLE_BUFFER, Batch
from .folder import ShardFolder


class WebDatasetLoader:
    """Reads every sample with webdataset's streaming reader, and decodes this process's rows only."""

    def __init__(
        self, folder: ShardFolder, *, batch_size: int, shuffle: bool, seed: int, device: torch.device, place: Place
    ) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.device = device
        self.place = place
        self.epoch = 0  # number of finished epochs, which selects the next shuffle

    def __len__(self) -> int:
        return self.folder.num_batches(self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        from webdataset.compat import WebDataset

        rng = random.Random(f"{self.seed} {self.epoch}")
        tars = self.folder.files("tar")
        if self.shuffle:
            rng.shuffle(tars)
        dataset: Any = WebDataset(tars, shardshuffle=False, nodesplitter=None)
        if self.shuffle:
            dataset = dataset.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=rng)
        samples: list[dict[str, bytes]] = []
        for sample in dataset:
            samples.append(sample)
            if len(samples) == self.batch_size:
                yield self._collate(samples)
                samples = []
        if samples:
            yield self._collate(samples)
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def _decode(self, sample: dict[str, bytes]) -> tuple[Tensor, np.ndarray, int]:
        data = sample["png"] if "png" in sample else sample["jpg"]
        channels = self.folder.manifest.teacher.channels
        return (
            decode_image(data, channels),
            np.load(io.BytesIO(sample["logits.npy"])),
            int(np.load(io.BytesIO(sample["target.npy"]))),
        )

    def _collate(self, samples: list[dict[str, bytes]]) -> Batch:
        rows = Rows.of(len(samples), self.place)
        images, logits, targets = zip(*map(self._decode, rows.take(samples)), strict=True)
        return Batch(
            torch.stack(images).to(self.device),
            torch.from_numpy(np.stack(logits)).to(self.device).float(),
            torch.tensor(targets, device=self.device),
            rows,
        )
