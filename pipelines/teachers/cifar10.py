"""Train a teacher on images of 32 x 32 pixels, to have one to measure with:

    python -m dreamdistill.pipelines.teachers.cifar10 --network cifar_resnet34 --train TRAIN.tar --eval TEST.tar \
        --out cifar_resnet34.safetensors [--epochs 200 | --seconds 90]

SGD with Nesterov momentum, shifts by up to four pixels and flips (He et al. 2016). The learning rate rises linearly and
falls by a cosine. ``--epochs 200`` is what papers train for; a dozen is what a CPU has time for. ``--seconds`` trains
with large batches, for as many epochs as fit in this time.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from ...shared.core.device import pick_device
from ...shared.core.files import write_bytes
from ...shared.core.launch import Rows
from ...shared.core.numerics import autocast, lr_factor
from ...shared.data.accuracy import top1
from ...shared.data.augment import random_flip, random_shift
from ...shared.data.labelled import labelled_batches, open_labelled
from ...shared.models.networks import NETWORKS
from ...shared.models.preprocessing import Preprocessing

MOMENTUM, WEIGHT_DECAY, SHIFT = 0.9, 5e-4, 4
WARM_UP_STEPS, TIMED_STEPS = 3, 20  # of the trial that finds how many epochs fit in a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a teacher is trained.

    Attributes:
        lr: the highest learning rate.
        warmup: share of the steps in which the learning rate rises.
        label_smoothing: share of the target that all classes divide evenly.
        compile: run the network through ``torch.compile``. It takes half a minute or so on a GPU (estimated), which
            pays in trainings of several minutes.
    """

    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    warmup: float = 0.1
    label_smoothing: float = 0.0
    compile: bool = False


# For a GPU and little time. Labels are not smoothed, although short trainings gain from it: a teacher that learned from
# smoothed labels says less about the likeness of classes, and students learn less from it (Müller et al. 2019).
FAST = Recipe(epochs=30, batch_size=512, lr=0.3, warmup=0.25)


def train(
    network: nn.Module, pixels_NCHW: Tensor, labels_N: Tensor, preprocessing: Preprocessing, *, recipe: Recipe
) -> None:
    """In place, on the network's device, which also keeps the images.

    Args:
        pixels_NCHW: uint8.
        labels_N: int64.
    """
    per_epoch = _steps_an_epoch(recipe, len(labels_N))
    losses = _steps(network, pixels_NCHW, labels_N, preprocessing, recipe)
    for epoch in range(recipe.epochs):
        started = time.monotonic()
        mean = float(torch.stack(list(islice(losses, per_epoch))).mean())  # the epoch's one host sync
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1}/{recipe.epochs}, loss {mean:.4f}, {seconds:.1f} s", file=sys.stderr)
    network.eval()


def epochs_within(
    seconds: float,
    network: nn.Module,
    pixels_NCHW: Tensor,
    labels_N: Tensor,
    preprocessing: Preprocessing,
    *,
    recipe: Recipe,
) -> int:
    """How many epochs of :func:`train` fit in this time, at least one. The network stays as it is.

    A few steps are timed. Their time, and that of compiling, counts too.
    """
    started = time.monotonic()
    first = copy.deepcopy(network.state_dict())
    per_epoch = _steps_an_epoch(recipe, len(labels_N))
    timed = min(TIMED_STEPS, per_epoch)
    losses = _steps(network, pixels_NCHW, labels_N, preprocessing, recipe)
    ends = [time.monotonic() for loss in _read_last(losses, WARM_UP_STEPS, timed)]
    network.load_state_dict(first)
    epoch_seconds = (ends[1] - ends[0]) / timed * per_epoch
    return max(1, int((seconds - (time.monotonic() - started)) / epoch_seconds))


def _read_last(losses: Iterator[Tensor], *counts: int) -> Iterator[float]:
    """The last of so many losses, for each count in turn; reading it waits for the device."""
    for count in counts:
        yield float(list(islice(losses, count))[-1])


def _steps_an_epoch(recipe: Recipe, images: int) -> int:
    """Whole batches alone: a smaller last one would have other statistics, and another shape to compile."""
    return max(1, images // recipe.batch_size)


def _steps(
    network: nn.Module, pixels_NCHW: Tensor, labels_N: Tensor, preprocessing: Preprocessing, recipe: Recipe
) -> Iterator[Tensor]:
    """Train by one step for each loss that is taken; it has no host sync."""
    device = next(network.parameters()).device
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    forward = torch.compile(network) if recipe.compile else network
    pixels_NCHW, labels_N = pixels_NCHW.to(device), labels_N.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    per_epoch = _steps_an_epoch(recipe, len(labels_N))
    steps = recipe.epochs * per_epoch
    warmup = round(recipe.warmup * steps)
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(step, steps, warmup=warmup))
    black, _ = preprocessing.valid_range(device)  # what papers pad with
    while True:
        order = torch.randperm(len(labels_N), device=device)
        for index in order.split(recipe.batch_size)[:per_epoch]:
            rows = Rows(len(index))
            x_NCHW = random_shift(preprocessing.normalize(pixels_NCHW[index]), rows, SHIFT, fill_C11=black)
            x_NCHW = random_flip(x_NCHW, rows).contiguous(memory_format=torch.channels_last)
            with autocast(x_NCHW):
                logits_NK = forward(x_NCHW)
            loss = F.cross_entropy(logits_NK.float(), labels_N[index], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a teacher on images of 32 x 32 pixels.")
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--train", required=True, help="images to learn from, as for --eval")
    parser.add_argument("--eval", required=True, help="test images, as for di-distill --eval")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--num-classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seconds", type=float, help="large batches, and as many epochs as fit in this time")
    parser.add_argument("--lr", type=float, help=f"highest learning rate, {Recipe().lr}; with --seconds {FAST.lr}")
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--compile", action="store_true", help="run the network through torch.compile")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()

    known = NETWORKS[asked.network]
    preprocessing = Preprocessing(mean=known.mean, std=known.std, image_size=known.image_size)
    pixels, labels = zip(
        *labelled_batches(open_labelled(asked.train, asked.num_classes), preprocessing, 1024), strict=True
    )
    images = torch.cat(pixels), torch.cat(labels), preprocessing
    torch.manual_seed(asked.seed)
    network = known.build(num_classes=asked.num_classes, in_channels=preprocessing.channels).to(
        pick_device(asked.device)
    )
    recipe = Recipe(epochs=asked.epochs) if asked.seconds is None else FAST
    recipe = replace(recipe, lr=asked.lr or recipe.lr, label_smoothing=asked.label_smoothing, compile=asked.compile)
    started = time.monotonic()
    if asked.seconds is not None:
        recipe = replace(recipe, epochs=epochs_within(asked.seconds, network, *images, recipe=recipe))
    train(network, *images, recipe=recipe)
    seconds = time.monotonic() - started
    accuracy = top1(network, open_labelled(asked.eval, asked.num_classes), preprocessing)
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(asked.out, safetensors.torch.save(state, {"seed": str(asked.seed), "top1": f"{accuracy:.4f}"}))
    print(json.dumps({"network": asked.network, "top1": accuracy, "epochs": recipe.epochs, "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
