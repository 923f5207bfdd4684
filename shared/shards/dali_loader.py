"""A loader that reads and decodes with NVIDIA DALI."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..core.errors import DreamError
from ..core.launch import Place, Rows
from ..core.limits import most_mappings, require_open_files
from .batches import SHUFFLE_BUFFER, Batch
from .contract import check_labels
from .folder import ShardFolder, again
from .verification import shard_problem


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
        teacher = self.folder.manifest.teacher
        for outputs in self._outputs():
            out = outputs[0]
            logits_NK, targets_N = out["logits"], out["target"].reshape(-1)
            with self._errors_explained():
                check_labels(logits_NK.numpy(), targets_N.numpy(), teacher)
                if (shape := tuple(out["image"].shape[1:])) != (teacher.channels, *[teacher.image_size] * 2):
                    raise ValueError(f"images of shape {shape}")
            rows = Rows.of(len(targets_N), self.place)
            yield Batch(
                rows.take(out["image"]).to(self.device),
                rows.take(logits_NK).to(self.device).float(),
                rows.take(targets_N).to(self.device),
                rows,
            )

    def _outputs(self) -> Iterator[Any]:
        iterator = iter(self.iterator)
        while True:
            with self._errors_explained():
                outputs = next(iterator, None)
            if outputs is None:
                return
            yield outputs

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        """DALI seldom says which sample an error is about, so the shards are searched for it, and then decoded."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            for plan in self.folder.plans():
                if problem := shard_problem(self.folder, plan):
                    raise DreamError(f"{problem}; {again(self.folder.path, plan.number)}") from error
            for _ in self.folder.images():  # raises an error that names the sample
                pass
            # Without the traceback of the pipeline's definition, which is ours.
            reason = str(error).rpartition("encountered:\n\n")[2].partition("\n")[0] or type(error).__name__
            raise DreamError(
                f"DALI cannot read {self.folder.path}: {reason}; delete the shard's commit record (.json) and run"
                " di-invert again, or try --loader webdataset"
            ) from error

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

        with self._errors_explained():  # the iterator reads the first batch at once
            return plugin.DALIGenericIterator(
                [pipeline(checkpoint=checkpoint) if checkpoint else pipeline()],
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
