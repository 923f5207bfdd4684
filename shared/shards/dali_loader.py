"""A loader that reads and decodes with NVIDIA DALI."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..core.launch import Place, Rows
from ..core.limits import most_mappings, require_open_files
from .batches import SHUFFLE_BUFFER, Batch
from .folder import ShardFolder


class DaliLoader:
    """Reads, decodes and batches in DALI's own threads, on the CPU. With CUDA, JPEG is decoded on the GPU.

    If several processes share the batches, each decodes its own rows only (``selective``).
    """

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
        self.iterator: Any = self._build(checkpoint=None)

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
        # DALI restores a checkpoint only in a pipeline of the same form, selective or not. Both forms give a process
        # the right rows; a form that does not match the number of processes costs some speed.
        self.selective = state["selective"]
        self.iterator = None  # both at once would map, or open, every shard twice
        self.iterator = self._build(checkpoint=state["dali"][0])

    def _build(self, checkpoint: bytes | None) -> Any:
        # DALI maps the shards of a reader into memory, and keeps none open, if they are no more than half of what the
        # kernel lets a process map. If they are, it keeps all of them open.
        if len(self.folder.records) > most_mappings() // 2:
            require_open_files(len(self.folder.records))
        # DALI creates its operators at run time, so type checkers do not know them.
        dali: Any = importlib.import_module("nvidia.dali")
        plugin: Any = importlib.import_module("nvidia.dali.plugin.pytorch")
        fn: Any = importlib.import_module("nvidia.dali.fn")
        types = dali.types
        on_gpu = self.device.type == "cuda"
        where = "gpu" if on_gpu else "cpu"
        teacher = self.folder.manifest.teacher
        channels, size = teacher.channels, teacher.image_size
        is_own = self._own_positions()

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
                # Without padding, epochs after the first wrap around and miss samples. PARTIAL removes the padding.
                pad_last_batch=True,
                name="shards",
            )
            if self.selective:
                own = fn.external_source(source=lambda _: is_own, batch=True, dtype=types.BOOL, ndim=0)
                if own:  # a DALI conditional: it decides for each sample of the batch
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
        """Whether this process decodes a position of a batch, bool (batch_size,).

        The same for every batch: the positions of its rows in a full batch, and in the smaller last one.
        """
        is_own = np.zeros(self.batch_size, dtype=bool)
        for total in {self.batch_size, self.folder.num_samples % self.batch_size}:
            is_own[Rows.of(total, self.place).take(range(total))] = True
        return is_own
