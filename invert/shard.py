"""One shard: its images, optimised batch by batch, and their labels, written together with its commit record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..shared.data.images import decode_image, encode_image
from ..shared.models.classifier import Classifier, reload_model
from ..shared.models.named_files import take_keys
from ..shared.shards.contract import Sample
from ..shared.shards.manifest import ShardPlan
from ..shared.shards.records import CommitRecord
from ..shared.shards.writer import write_shard
from .engine import BatchProgress, DivergedError, Engine, Synthesis, batch_seed
from .execution import Log
from .job import Job, ShardProgress, worker_name

ATTEMPTS = 3  # seeds that are tried for a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardImages:
    """The images of a shard, optimised and not yet written.

    Attributes:
        pixels_NCHW: uint8.
        losses: final value of each loss term, mean over the shard's batches.
        clipped: share of pixel values, 0 to 1, that rounding moved by more than half a level.
        seed: of the first batch.
        seconds: that the optimisation took.
    """

    plan: ShardPlan
    pixels_NCHW: Tensor
    targets_N: Tensor
    losses: dict[str, float]
    clipped: float
    seed: int
    seconds: float


class ShardMaker:
    """Optimises the images of a shard, and writes them with the teacher's logits.

    The two steps may run in two threads at the same time, for different shards.

    Args:
        teacher: already loaded, or None to load it as the job describes it.
        log: called with a line for the user.
    """

    def __init__(self, job: Job, device: torch.device, teacher: Classifier | None = None, *, log: Log) -> None:
        self.job = job
        self.log = log
        take_keys(job.named)
        self.teacher = teacher or reload_model(job.teacher, code=job.code, device=device)
        student = reload_model(job.student, code=job.code, device=device).network if job.student else None
        assert job.round.execution is not None, "decided before the first shard"
        self.engine = Engine(self.teacher, job.recipe, student, execution=job.round.execution, log=log)

    def optimise(self, plan: ShardPlan, progress: ShardProgress) -> ShardImages:
        """Make the images of a shard.

        Raises:
            DivergedError: the optimisation of a batch diverged with every seed.
        """
        started = time.monotonic()
        pixels: list[Tensor] = []
        losses: list[dict[str, float]] = []
        clipped = 0.0
        seeds: list[int] = []
        size = self.job.round.batch
        for batch, first in enumerate(range(0, plan.count, size)):
            wanted = min(size, plan.count - first)

            def batch_progress(fraction: float, terms: dict[str, float], first: int = first, n: int = wanted) -> None:
                progress(plan.number, (first + fraction * n) / plan.count, terms)

            made, seed = self._synthesize(plan, batch, batch_progress)
            batch_progress(1.0, made.losses)
            x_NCHW = made.x[:wanted]
            pixels.append(self.teacher.preprocessing.to_pixels(x_NCHW).cpu())
            clipped += self.teacher.preprocessing.share_clipped(x_NCHW) * wanted
            losses.append(made.losses)
            seeds.append(seed)
        return ShardImages(
            plan=plan,
            pixels_NCHW=torch.cat(pixels),
            targets_N=self._targets(plan),
            losses={name: float(np.mean([terms[name] for terms in losses])) for name in losses[0]},
            clipped=clipped / plan.count,
            seed=seeds[0],
            seconds=time.monotonic() - started,
        )

    def write(self, images: ShardImages) -> CommitRecord:
        """Encode and label the images, and write the shard.

        Raises:
            OSError: the shard cannot be written.
            DivergedError: a logit is beyond the numbers of float16, as which it is stored.
        """
        started = time.monotonic()
        encoded = [encode_image(image, self.job.round.format) for image in images.pixels_NCHW]
        logits_NK = self._label(encoded)
        if not torch.isfinite(logits_NK).all():
            raise DivergedError(
                "the teacher's logits for the images are no numbers, or beyond 65,504, the largest of float16: check"
                " its weights, --mean and --std"
            )

        def commit(**files: Any) -> CommitRecord:
            return CommitRecord(
                **files,
                seed=images.seed,
                seconds=round(images.seconds + time.monotonic() - started, 3),
                worker=worker_name(),
                losses=images.losses,
                agreement=float((logits_NK.argmax(1) == images.targets_N).float().mean()),
                class_loss=float(F.cross_entropy(logits_NK.float(), images.targets_N)),
                clipped=images.clipped,
            )

        samples = (
            Sample(image=image, logits=logits_K.numpy(), target=int(target))
            for image, logits_K, target in zip(encoded, logits_NK, images.targets_N, strict=True)
        )
        return write_shard(self.job.folder, images.plan, samples, commit=commit)

    def _synthesize(self, plan: ShardPlan, batch: int, progress: BatchProgress) -> tuple[Synthesis, int]:
        """A whole batch and its seed.

        The last batch of a shard is whole too, though only some of its images are kept: all batches then have one
        shape, one compiled step, and statistics over as many images.
        """
        job = self.job
        targets_N = self._targets(plan, batch * job.round.batch, job.round.batch)
        for attempt in range(ATTEMPTS):
            seed = batch_seed(seed=job.seed, round=job.round_number, shard=plan.number, batch=batch, attempt=attempt)
            try:
                return self.engine.synthesize(targets_N, seed=seed, progress=progress), seed
            except DivergedError as error:
                again = "starting it again with a new seed" if attempt + 1 < ATTEMPTS else "giving the shard up"
                self.log(
                    f"shard {plan.number:06d}, batch {batch}: {error}; {again} ({attempt + 1} of {ATTEMPTS} tries)"
                )
        raise DivergedError(f"shard {plan.number:06d} ran into NaN {ATTEMPTS} times; lower --lr or the weights")

    def _targets(self, plan: ShardPlan, first: int = 0, count: int | None = None) -> Tensor:
        """Classes in turn, by the image's place in the round: balanced over the round, and within each part of it."""
        start = plan.first_image - self.job.round.first_image + first
        classes = self.job.classes
        return torch.tensor([classes[i % len(classes)] for i in range(start, start + (count or plan.count))])

    @torch.no_grad()
    def _label(self, encoded: list[bytes]) -> Tensor:
        """The teacher's logits, float16, of the images as they are stored: encoded and decoded, 8 bits a channel."""
        preprocessing = self.teacher.preprocessing
        rows: list[Tensor] = []
        step = self.job.recipe.batch_size
        for start in range(0, len(encoded), step):
            decoded = [decode_image(data, preprocessing.channels) for data in encoded[start : start + step]]
            x_NCHW = preprocessing.normalize(torch.stack(decoded).to(self.engine.device))
            rows.append(self.engine.network(x_NCHW).float().cpu())
        return torch.cat(rows).half()
