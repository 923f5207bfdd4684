"""A loader that reads with webdataset and decodes with Pillow."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import one_line
from ..core.launch import Place, Rows
from ..data.image_header import check_image_header
from ..data.images import decode_image
from .batches import SHUFFLE_BUFFER, Batch
from .contract import check_labels, sample_key
from .folder import ShardFolder, damaged
from .records import shard_path


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
        samples = self._samples()
        while part := list(islice(samples, self.batch_size)):
            yield self._collate(part)
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def _samples(self) -> Iterator[dict[str, Any]]:
        """Encoded samples in the order of this epoch."""
        from webdataset.filters import shuffle
        from webdataset.tariterators import group_by_keys, tar_file_expander

        rng = random.Random(f"{self.seed} {self.epoch}")
        plans = list(self.folder.plans())
        if self.shuffle:
            rng.shuffle(plans)
        plan = plans[0]

        def streams() -> Iterator[dict[str, Any]]:
            # Opened here: webdataset would take a path for a URL, and a URL may be a command.
            nonlocal plan
            for plan in plans:
                path = shard_path(self.folder.path, plan.number, "tar")
                with path.open("rb") as file:
                    if not file.peek().startswith(sample_key(plan, 0).encode()):  # it would be decompressed
                        raise ValueError("it is no tar of ours")
                    yield {"url": str(path), "stream": file}

        samples = group_by_keys(tar_file_expander(streams()))
        if self.shuffle:
            samples = shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=rng)(samples)
        try:
            yield from samples
        except (OSError, ValueError, tarfile.TarError) as error:
            raise damaged(self.folder, plan.number, one_line(error)) from error

    def _decode(self, sample: dict[str, Any]) -> tuple[Tensor, np.ndarray, int]:
        teacher = self.folder.manifest.teacher
        try:
            format = "png" if "png" in sample else "jpg"
            logits, target = (np.load(io.BytesIO(sample[f"{name}.npy"])) for name in ("logits", "target"))
            check_labels(logits[None], target[None], teacher)
            check_image_header(sample[format], format=format, channels=teacher.channels, size=teacher.image_size)
            return decode_image(sample[format], teacher.channels), logits, int(target)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(
                self.folder, int(Path(sample["__url__"]).stem), f"sample {sample['__key__']}: {one_line(error)}"
            ) from error

    def _collate(self, samples: list[dict[str, Any]]) -> Batch:
        rows = Rows.of(len(samples), self.place)
        images, logits, targets = zip(*map(self._decode, rows.take(samples)), strict=True)
        return Batch(
            torch.stack(images).to(self.device),
            torch.from_numpy(np.stack(logits)).to(self.device).float(),
            torch.tensor(targets, device=self.device),
            rows,
        )
