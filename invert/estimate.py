"""What a run would do: shards, bytes and time, found without writing, compiling or connecting to anything."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

from ..shared.data.images import encode_image
from ..shared.models.classifier import Classifier
from ..shared.models.cost import MACS_PER_SECOND, seconds_for
from .engine import Engine
from .execution import Execution, forward_macs
from .inputs import Inputs
from .plan import Plan


def estimate(inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """Shards to write and to skip, their size in bytes, and the seconds that they would take.

    The seconds come from a step at each resolution, not compiled, with a whole batch or as much of it as takes a few
    seconds; where one image takes longer, from its multiply-adds. The bytes come from one image of noise, the kind that
    compresses worst. Values that are not known are None, and ``not_known`` says why.
    """
    execution = plan.job.round.execution  # None where it depends on a cluster that is not joined
    images = sum(p.count for p in plan.pending)
    seconds = None
    if plan.workers is None:
        not_known = "number of workers and seconds: they depend on the Ray cluster, which a dry run does not join"
    else:
        assert execution is not None
        with _threads(inputs.config.threads):
            by_batch = _seconds_a_batch(inputs, batch=plan.job.round.batch, precision=execution.precision)
        seconds = round(by_batch * images / plan.job.round.batch / plan.workers, 1)
        not_known = "time that compiling saves: seconds are those of steps that are not compiled"
    return {
        "shards_to_write": len(plan.pending),
        "shards_to_skip": len(plan.share) - len(plan.pending),
        "images": images,
        "bytes": images * _bytes_an_image(inputs.teacher, plan.job.round.format),
        "seconds": seconds,
        "workers": plan.workers,
        "compile": None if execution is None else execution.compile,
        "precision": None if execution is None else execution.precision,
        "not_known": not_known if execution is None or execution.compile else None,
    }


def _bytes_an_image(teacher: Classifier, format: str) -> int:
    preprocessing = teacher.preprocessing
    noise = torch.randint(0, 256, (preprocessing.channels, preprocessing.image_size, preprocessing.image_size))
    members = len(encode_image(noise.byte(), format)) + 2 * teacher.num_classes
    headers = 4 * 512 + 3 * 512  # four members, a header each, padded to blocks of 512
    return members + headers


def _seconds_a_batch(inputs: Inputs, *, batch: int, precision: str) -> float:
    teacher, recipe = inputs.teacher, inputs.recipe
    steps = [resolution.steps for resolution in recipe.resolutions(teacher.preprocessing.image_size)]
    if not any(steps):
        return 0.0
    probe = recipe.changed({"steps": (1,)})
    device = next(teacher.network.parameters()).device
    rate = MACS_PER_SECOND[device.type]

    @functools.cache
    def engine() -> Engine:  # only where steps are timed: it copies the network
        return Engine(teacher, probe, execution=Execution(compile=False, precision=precision))

    def seconds(images: int) -> float:
        taken = _seconds_by_resolution(engine(), images)
        return sum(each * count for each, count in zip(taken, steps, strict=True))

    return seconds_for(
        seconds,
        batch,
        least=1,
        smallest=forward_macs(teacher, probe, 1) / rate,
        guess=forward_macs(teacher, recipe, batch) / rate,
        device=device,
    )


def _seconds_by_resolution(engine: Engine, images: int) -> list[float]:
    """Time of a step at each resolution."""
    ends = [time.monotonic()]
    engine.synthesize(
        torch.zeros(images, dtype=torch.int64),
        seed=0,
        progress=lambda fraction, terms: ends.append(time.monotonic()),  # at the end of each resolution
    )
    return [end - start for start, end in pairwise(ends)]


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many CPU threads as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
