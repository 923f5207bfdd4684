"""Batches read and decoded by NVIDIA DALI."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..core.launch import Place, Rows
from .batches import SHUFFLE_BUFFER, Batch
from .folder import ShardFolder


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
