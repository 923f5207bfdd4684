"""What ONNX files are worth: their top-1, their latency, and how often int8 answers as float does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from ..data.evaluation import evaluate
from ..data.labelled import LabelledSet
from ..models.classifier import Classifier
from ..models.cost import paired_seconds
from ..shards.folder import ShardFolder
from ..shards.loaders import make_loader
from ..shards.verification import verify_once
from .deployed import Deployed
from .onnx_file import full_batch

CALIBRATION_IMAGES = 256  # for the ranges of int8
COMPARED_IMAGES = 1024  # synthetic ones, on which int8 and float are compared
BATCH = 64
ROUNDS = 50  # timed forward passes

Run = Callable[[Tensor], Tensor]  # logits (N, K) of input (N, C, H, W)


def calibration_batches(deployed: Deployed, shards: ShardFolder, batch: int | None) -> list[Tensor]:
    """Synthetic images as the file's input, in batches that it takes."""
    count = -(-CALIBRATION_IMAGES // (batch or BATCH))
    return [full_batch(x_NCHW, batch) for x_NCHW in islice(_inputs(deployed, shards, batch or BATCH), count)]


def agreement(runs: Sequence[Run], deployed: Deployed, shards: ShardFolder) -> float:
    """Share of synthetic images, 0 to 1, for which two files give the same class."""
    same = total = 0
    for x_NCHW in islice(_inputs(deployed, shards, BATCH), COMPARED_IMAGES // BATCH):
        first_N, second_N = (run(x_NCHW).argmax(1) for run in runs)
        same += int((first_N == second_N).sum())
        total += len(x_NCHW)
    return same / total


def latency_ms(runs: Sequence[Run], deployed: Deployed, batch: int | None) -> list[float]:
    """Median milliseconds of a forward pass of one image, or of a fixed batch, on one thread; measured in turn."""
    x_NCHW = deployed.probes(batch or 1)
    seconds = paired_seconds([lambda run=run: run(x_NCHW) for run in runs], device=torch.device("cpu"), rounds=ROUNDS)
    return [round(1e3 * each, 4) for each in seconds]


def top1_of(run: Run, deployed: Deployed, classifier: Classifier, images: LabelledSet) -> float:
    """Top-1 of a file on labelled images, 0 to 1.

    Raises:
        ConfigError: the set is empty or cannot be read.
    """
    return evaluate(
        lambda pixels_NCHW: run(deployed.input(pixels_NCHW)),
        images,
        classifier.preprocessing,
        num_classes=classifier.num_classes,
        batch_size=BATCH,
    ).top1


def _inputs(deployed: Deployed, shards: ShardFolder, size: int) -> Iterator[Tensor]:
    """Synthetic images in the folder's order, shuffled by a fixed seed: all classes come early."""
    verify_once(shards)
    device = torch.device("cpu")
    for batch in make_loader(shards, "webdataset", batch_size=size, shuffle=True, seed=0, device=device):
        yield deployed.input(batch.images)
