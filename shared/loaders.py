"""Batches out of a shard folder: NVIDIA DALI where it is installed, webdataset elsewhere, the same samples from both.

A loader gives decoded, unaugmented uint8 images; augmentation is the trainer's, on the training device, so it is the
same whatever the loader. Both shuffle anew each epoch and can be put back to the start of any epoch.

Several processes share each batch: all see the same samples in the same order, and decode their own rows of it.
"""

from __future__ import annotations

import importlib
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError
from .images import decode_image
from .launch import Place
from .shards import ShardFolder

ALONE = Place()
SHUFFLE_BUFFER = 4096  # encoded samples held back by the streaming shuffle; several shards of a usual size


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows of a batch of ``total`` a process works on: from ``start``, every ``step``-th."""

    total: int
    start: int = 0
    step: int = 1

    @classmethod
    def of(cls, total: int, place: Place) -> Rows:
        """A process's rows. A batch smaller than the number of processes is whole everywhere: nobody has no row."""
        return cls(total, place.rank, place.world) if total >= place.world else cls(total)

    @property
    def is_part(self) -> bool:
        return self.step > 1

    def take(self, batch: Any) -> Any:
        """These rows of a tensor, a list or a range that has an entry for each row of the batch."""
        return batch[self.start :: self.step]


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 (N, C, H, W); logits: float32 (N, K), the stored ones; targets: int64 (N,); rows: which."""

    images: Tensor
    logits: Tensor
    targets: Tensor
    rows: Rows

    def __len__(self) -> int:
        return len(self.targets)


class Loader(Protocol):
    """One pass over all batches each time it is iterated; the last may be smaller. Of each, this process's rows."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to shuffle the next epochs as this loader would have, at any place."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


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


class WebDatasetLoader:
    """webdataset's streaming reader: one process reads everything, Pillow decodes this process's rows."""

    def __init__(
        self, folder: ShardFolder, *, batch_size: int, shuffle: bool, seed: int, device: torch.device, place: Place
    ) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.device = device
        self.place = place
        self.epoch = 0

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
        channels = len(self.folder.manifest.teacher["mean"])
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


class DaliLoader:
    """DALI's pipeline: reading, decoding and batching in its own threads, on the CPU or with JPEG on the GPU."""

    def __init__(
        self,
        folder: ShardFolder,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        device: torch.device,
        threads: int,
        place: Place,
    ) -> None:
        self.folder = folder
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.device = device
        self.threads = threads
        self.place = place
        self.selective = place.world > 1
        self.iterator = self._build(checkpoint=None)

    def __len__(self) -> int:
        return self.folder.num_batches(self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for outputs in self.iterator:
            out = outputs[0]
            rows = Rows.of(len(out["target"]), self.place)
            yield Batch(
                rows.take(out["image"]).to(self.device),
                rows.take(out["logits"]).to(self.device).float(),
                rows.take(out["target"]).reshape(-1).to(self.device),
                rows,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"dali": self.iterator.checkpoints(), "selective": self.selective}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # DALI takes a checkpoint only into the pipeline that made it. Either gives every process its rows; the other
        # than its own costs it some speed.
        self.selective = state["selective"]
        self.iterator = self._build(checkpoint=state["dali"][0])

    def _build(self, checkpoint: bytes | None) -> Any:
        # DALI makes its operators at run time, so a type checker knows none of them.
        dali: Any = importlib.import_module("nvidia.dali")
        plugin: Any = importlib.import_module("nvidia.dali.plugin.pytorch")
        fn: Any = importlib.import_module("nvidia.dali.fn")
        types = dali.types
        on_gpu = self.device.type == "cuda"
        where = "gpu" if on_gpu else "cpu"
        teacher = self.folder.manifest.teacher
        channels, size = len(teacher["mean"]), teacher["image_size"]
        own = self._own_positions()

        def image_NCHW(encoded: Any) -> Any:
            kind = types.GRAY if channels == 1 else types.RGB
            pixels = fn.decoders.image(encoded, device="mixed" if on_gpu else "cpu", output_type=kind)
            return fn.transpose(pixels, perm=[2, 0, 1])

        @dali.pipeline_def(
            batch_size=self.batch_size,
            num_threads=self.threads,
            device_id=(self.device.index or 0) if on_gpu else None,
            seed=self.seed % 2**31,
            enable_checkpointing=True,
            enable_conditionals=self.selective,
        )
        def pipeline() -> tuple[Any, ...]:
            image, logits, target = fn.readers.webdataset(
                paths=self.folder.files("tar"),
                index_paths=self.folder.files("idx"),
                ext=["png;jpg", "logits.npy", "target.npy"],
                missing_component_behavior="error",
                random_shuffle=self.shuffle,
                initial_fill=SHUFFLE_BUFFER,
                # Without padding, epochs after the first wrap around and miss samples; PARTIAL cuts the padding off.
                pad_last_batch=True,
                name="shards",
            )
            if self.selective:
                mine = fn.external_source(source=lambda _: own, batch=True, dtype=types.BOOL, ndim=0)
                if mine:  # DALI's own: one way for some samples of a batch, another for the others
                    pixels = image_NCHW(image)
                else:
                    pixels = fn.zeros(shape=[channels, size, size], dtype=types.UINT8, layout="CHW", device=where)
            else:
                pixels = image_NCHW(image)
            return pixels, fn.decoders.numpy(logits), fn.decoders.numpy(target)

        pipe = pipeline(checkpoint=checkpoint) if checkpoint else pipeline()
        return plugin.DALIGenericIterator(
            [pipe],
            ["image", "logits", "target"],
            reader_name="shards",
            last_batch_policy=plugin.LastBatchPolicy.PARTIAL,
            auto_reset=True,
        )

    def _own_positions(self) -> np.ndarray:
        """Which positions of a batch this process decodes, in any of the epoch's batches."""
        own = np.zeros(self.batch_size, dtype=bool)
        for total in {self.batch_size, self.folder.num_samples % self.batch_size}:
            own[Rows.of(total, self.place).take(range(total))] = True
        return own
