"""One shard, from noise to commit mark."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..shared.core.device import make_deterministic
from ..shared.data.images import decode_image, encode_image
from ..shared.models.classifier import Classifier, reload_model
from ..shared.shards.locks import ShardLocks
from ..shared.shards.manifest import Round, ShardPlan
from ..shared.shards.records import CommitRecord, is_whole
from ..shared.shards.writer import Sample, write_shard
from .engine import DivergedError, Engine, batch_seed
from .execution import Execution, Log
from .recipe import Recipe

ATTEMPTS = 3

Progress = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker process needs to make any shard of a round; plain values, so that it can be sent to one.

    Attributes:
        teacher: its description (:meth:`~.teachers.Classifier.describe`).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A shard's images, optimised and not yet written; pixels are uint8, losses the mean over its batches."""

    plan: ShardPlan
    pixels_NCHW: Tensor
    targets_N: Tensor
    losses: dict[str, float]
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a shard.

    Attributes:
        fate: ``made`` (by whomever), ``busy`` (another run has it in hand), ``diverged`` (with every seed that there
            is to try) or ``unwritable``.
        reason: in words, of the last two.
        error: of an unwritable one.
    """

    number: int
    fate: Literal["made", "busy", "diverged", "unwritable"]
    reason: str = ""
    error: OSError | None = None


Report = Callable[[Outcome], None]


def worker_name() -> str:
    """This process, as commit marks name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Worker:
    """Makes shards on one device.

    Args:
        teacher: already loaded, or None to load it as the job says.
        progress: called with the images done since the last call (fractions count) and the loss terms.
        log: called with a line for the user.
    """

    def __init__(
        self, job: Job, device: torch.device, teacher: Classifier | None = None, *, progress: Progress, log: Log
    ) -> None:
        torch.set_num_threads(job.threads)
        make_deterministic()
        self.job = job
        self.progress = progress
        self.log = log
        self.teacher = teacher or reload_model(job.teacher, device=device)
        student = reload_model(job.student, device=device).network if job.student else None
        execution = Execution(**job.round.execution)
        self.engine = Engine(self.teacher, job.recipe, student, execution=execution, log=log)

    def make(self, plans: Iterable[ShardPlan], report: Report) -> None:
        """Make shards, one after the other, and report on each, from whichever thread is done with it.

        While one shard is optimised, a second thread encodes, labels and writes the one before; one shard waits to be
        written at most. A shard in hand is claimed, so that no other run makes it too.

        Raises:
            OSError: the folder cannot be written to.
        """
        # A new thread has torch's default number of threads, not its parent's: labels are sums too.
        writer = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(self.job.threads,))
        with ShardLocks(self.job.folder) as locks, writer:
            writing: Future[None] | None = None
            for plan in plans:
                if not locks.try_lock(plan.number):
                    report(Outcome(number=plan.number, fate="busy"))
                elif is_whole(self.job.folder, plan.number):  # made by another run since the plan was
                    locks.unlock(plan.number)
                    self.progress(plan.count, {})
                    report(Outcome(number=plan.number, fate="made"))
                else:
                    try:
                        made = self._optimise(plan)
                    except DivergedError as error:
                        locks.unlock(plan.number)
                        report(Outcome(number=plan.number, fate="diverged", reason=str(error)))
                        continue
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(self._finish, made, locks, report)
            if writing is not None:
                writing.result()

    def _finish(self, made: _Made, locks: ShardLocks, report: Report) -> None:
        number = made.plan.number
        try:
            self._write(made)
        except OSError as error:
            outcome = Outcome(number=number, fate="unwritable", reason=str(error), error=error)
        else:
            outcome = Outcome(number=number, fate="made")
        locks.unlock(number)
        report(outcome)

    def _optimise(self, plan: ShardPlan) -> _Made:
        started = time.monotonic()
        targets_N = self._targets(plan)
        pixels: list[Tensor] = []
        losses: list[dict[str, float]] = []
        seeds: list[int] = []
        counted = 0.0

        def progress(images: float, terms: dict[str, float]) -> None:
            nonlocal counted
            counted += images
            self.progress(images, terms)

        try:
            for batch, first in enumerate(range(0, plan.count, self.job.round.batch)):
                wanted = min(self.job.round.batch, plan.count - first)
                x_NCHW, terms, seed = self._synthesize(plan, batch, wanted, progress)
                pixels.append(self.teacher.preprocessing.to_pixels(x_NCHW).cpu())
                losses.append(terms)
                seeds.append(seed)
        except Exception:
            self.progress(-counted, {})
            raise
        return _Made(
            plan=plan,
            pixels_NCHW=torch.cat(pixels)[: plan.count],
            targets_N=targets_N,
            losses={name: float(np.mean([terms[name] for terms in losses])) for name in losses[0]},
            seed=seeds[0],
            seconds=time.monotonic() - started,
        )

    def _write(self, made: _Made) -> CommitRecord:
        started = time.monotonic()
        images = [encode_image(image, self.job.round.format) for image in made.pixels_NCHW]
        logits_NK = self._label(images)

        def commit(count: int, size: int, sha256: str) -> CommitRecord:
            return CommitRecord(
                count=count,
                bytes=size,
                sha256=sha256,
                seed=made.seed,
                seconds=round(made.seconds + time.monotonic() - started, 3),
                worker=worker_name(),
                losses=made.losses,
                agreement=float((logits_NK.argmax(1) == made.targets_N).float().mean()),
            )

        samples = (
            Sample(image=image, logits=logits_K.numpy(), target=int(target))
            for image, logits_K, target in zip(images, logits_NK, made.targets_N, strict=True)
        )
        return write_shard(self.job.folder, made.plan, samples, format=self.job.round.format, commit=commit)

    def _synthesize(
        self, plan: ShardPlan, batch: int, wanted: int, progress: Progress
    ) -> tuple[Tensor, dict[str, float], int]:
        """A whole batch, of which the first ``wanted`` images count: one shape, one compiled step, full statistics."""
        targets_N = self._targets(plan, batch * self.job.round.batch, self.job.round.batch)
        for attempt in range(ATTEMPTS):
            seed = batch_seed(
                seed=self.job.seed, round=self.job.round_number, shard=plan.number, batch=batch, attempt=attempt
            )
            counted = 0.0

            def count(share: float, terms: dict[str, float]) -> None:
                nonlocal counted
                progress((share - counted) * wanted, terms)
                counted = share

            try:
                made = self.engine.synthesize(targets_N, seed=seed, progress=count)
            except DivergedError as error:
                progress(-counted * wanted, {})
                again = "starting it again with a new seed" if attempt + 1 < ATTEMPTS else "giving the shard up"
                self.log(
                    f"shard {plan.number:06d}, batch {batch}: {error}; {again} ({attempt + 1} of {ATTEMPTS} tries)"
                )
                continue
            progress((1 - counted) * wanted, made.losses)
            return made.x, made.losses, seed
        raise DivergedError(f"shard {plan.number:06d} ran into NaN {ATTEMPTS} times; lower --lr or the weights")

    def _targets(self, plan: ShardPlan, first: int = 0, count: int | None = None) -> Tensor:
        """Classes in turn by place in the round: balanced over the run, and within any stretch of it."""
        start = plan.first_image - self.job.round.first_image + first
        classes = self.job.classes
        return torch.tensor([classes[i % len(classes)] for i in range(start, start + (count or plan.count))])

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
