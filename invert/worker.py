"""One shard, from noise to commit mark."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..shared.images import decode_image, encode_image
from ..shared.manifest import Round, ShardPlan
from ..shared.runtime import make_deterministic
from ..shared.shards import Sample, ShardRecord, write_shard
from ..shared.teachers import Teacher, reload_teacher
from .engine import DivergedError, Engine, batch_seed
from .recipe import Recipe

ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker process needs to make any shard of a round; plain values, so that it can be sent to one.

    Attributes:
        teacher: its description (:meth:`~.teachers.Teacher.describe`).
        student: that of the network to compete against, or None.
        round_number: place of the round in the manifest, part of the seed.
        threads: CPU threads for the optimisation; sums in floating point depend on it.
    """

    teacher: dict[str, Any]
    student: dict[str, Any] | None
    recipe: Recipe
    round: Round
    round_number: int
    classes: tuple[int, ...]
    seed: int
    threads: int
    folder: Path


class Worker:
    """Makes shards on one device.

    Args:
        teacher: already loaded, or None to load it as the job says.
    """

    def __init__(self, job: Job, device: torch.device, teacher: Teacher | None = None) -> None:
        torch.set_num_threads(job.threads)
        make_deterministic()
        self.job = job
        self.teacher = teacher or reload_teacher(job.teacher, device=device)
        student = reload_teacher(job.student, device=device).network if job.student else None
        self.engine = Engine(self.teacher, job.recipe, student)

    def make(
        self, plan: ShardPlan, *, progress: Callable[[float, dict[str, float]], None], log: Callable[[str], None]
    ) -> ShardRecord:
        """Make one shard.

        Args:
            progress: called with the images done since the last call (fractions count) and the loss terms.
            log: called with a line for the user.

        Raises:
            DivergedError: a batch ran into NaN with three seeds in a row.
            OSError: the shard cannot be written.
        """
        started = time.monotonic()
        pixels: list[Tensor] = []
        losses: list[dict[str, float]] = []
        seeds: list[int] = []
        for batch, targets_N in enumerate(self._batches(plan)):
            x_NCHW, terms, seed = self._synthesize(plan, batch, targets_N, progress, log)
            pixels.append(self.teacher.preprocessing.to_pixels(x_NCHW).cpu())
            losses.append(terms)
            seeds.append(seed)
        targets_N = self._targets(plan)
        images = [encode_image(image, self.job.round.format) for image in torch.cat(pixels)]
        logits_NK = self._label(images)

        def commit(count: int, size: int, sha256: str) -> ShardRecord:
            return ShardRecord(
                count=count,
                bytes=size,
                sha256=sha256,
                seed=seeds[0],
                seconds=round(time.monotonic() - started, 3),
                worker=f"{socket.gethostname()}:{os.getpid()}",
                losses={name: float(np.mean([terms[name] for terms in losses])) for name in losses[0]},
                agreement=float((logits_NK.argmax(1) == targets_N).float().mean()),
            )

        samples = (
            Sample(image=image, logits=logits_K.numpy(), target=int(target))
            for image, logits_K, target in zip(images, logits_NK, targets_N, strict=True)
        )
        return write_shard(self.job.folder, plan, samples, format=self.job.round.format, commit=commit)

    def _synthesize(
        self,
        plan: ShardPlan,
        batch: int,
        targets_N: Tensor,
        progress: Callable[[float, dict[str, float]], None],
        log: Callable[[str], None],
    ) -> tuple[Tensor, dict[str, float], int]:
        for attempt in range(ATTEMPTS):
            seed = batch_seed(
                seed=self.job.seed, round=self.job.round_number, shard=plan.number, batch=batch, attempt=attempt
            )
            counted = 0.0

            def count(share: float, terms: dict[str, float]) -> None:
                nonlocal counted
                progress((share - counted) * len(targets_N), terms)
                counted = share

            try:
                made = self.engine.synthesize(targets_N, seed=seed, progress=count)
            except DivergedError as error:
                progress(-counted * len(targets_N), {})
                again = "starting it again with a new seed" if attempt + 1 < ATTEMPTS else "giving the shard up"
                log(f"shard {plan.number:06d}, batch {batch}: {error}; {again} ({attempt + 1} of {ATTEMPTS} tries)")
                continue
            progress((1 - counted) * len(targets_N), made.losses)
            return made.x, made.losses, seed
        raise DivergedError(f"shard {plan.number:06d} ran into NaN {ATTEMPTS} times; lower --lr or the weights")

    def _targets(self, plan: ShardPlan) -> Tensor:
        """Classes in turn by place in the round: balanced over the run, and within any stretch of it."""
        start = plan.first_image - self.job.round.first_image
        return torch.tensor([self.job.classes[i % len(self.job.classes)] for i in range(start, start + plan.count)])

    def _batches(self, plan: ShardPlan) -> Iterator[Tensor]:
        """The shard's targets in batches of about equal size: a small last one would have poor statistics."""
        count = -(-plan.count // self.job.recipe.batch_size)
        yield from self._targets(plan).tensor_split(count)

    @torch.no_grad()
    def _label(self, images: list[bytes]) -> Tensor:
        """The teacher's logits of the images as they are stored: encoded, decoded, 8 bits a channel; float16."""
        preprocessing = self.teacher.preprocessing
        rows: list[Tensor] = []
        step = self.job.recipe.batch_size
        for start in range(0, len(images), step):
            decoded = [decode_image(data, preprocessing.channels) for data in images[start : start + step]]
            x_NCHW = preprocessing.normalize(torch.stack(decoded).to(self.engine.device))
            rows.append(self.engine.network(x_NCHW).float().cpu())
        return torch.cat(rows).half()
