"""Train a teacher on images of 32 x 32 pixels, to have one to measure with:

    python -m dreamdistill.pipelines.teachers.cifar10 --network cifar_resnet34 --train TRAIN.tar --eval TEST.tar \
        --out cifar_resnet34.safetensors

SGD with Nesterov momentum and a cosine schedule, shifts by up to four pixels and flips (He et al. 2016). ``--epochs
200`` is what papers train for; a dozen is what a CPU has time for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from ...shared.core.device import pick_device
from ...shared.core.files import write_bytes
from ...shared.core.launch import Rows
from ...shared.core.numerics import lr_factor
from ...shared.data.accuracy import top1
from ...shared.data.augment import random_flip, random_shift
from ...shared.data.labelled import labelled_batches, open_labelled
from ...shared.models.networks import NETWORKS
from ...shared.models.preprocessing import Preprocessing

BATCH, MOMENTUM, WEIGHT_DECAY, SHIFT = 128, 0.9, 5e-4, 4
WARMUP = 0.1  # share of the steps


def train(
    network: nn.Module, pixels_NCHW: Tensor, labels_N: Tensor, preprocessing: Preprocessing, *, epochs: int, lr: float
) -> None:
    """In place, on the network's device.

    Args:
        pixels_NCHW: uint8.
        labels_N: int64.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels_NCHW, labels_N = pixels_NCHW.to(device), labels_N.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    steps = epochs * -(-len(labels_N) // BATCH)
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(step, steps, warmup=round(WARMUP * steps)))
    black, _ = preprocessing.valid_range(device)  # what papers pad with
    for epoch in range(epochs):
        started, total = time.monotonic(), torch.zeros((), device=device)
        network.train()
        for index in torch.randperm(len(labels_N), device=device).split(BATCH):
            rows = Rows(len(index))
            batch = random_flip(
                random_shift(preprocessing.normalize(pixels_NCHW[index]), rows, SHIFT, fill_C11=black), rows
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits_NK = network(batch.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits_NK.float(), labels_N[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach() * len(index)
        mean, seconds = float(total) / len(labels_N), time.monotonic() - started
        print(f"epoch {epoch + 1}/{epochs}, loss {mean:.4f}, {seconds:.0f} s", file=sys.stderr)
    network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a teacher on images of 32 x 32 pixels.")
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--train", required=True, help="images to learn from, as for --eval")
    parser.add_argument("--eval", required=True, help="test images, as for di-distill --eval")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()

    known = NETWORKS[asked.network]
    preprocessing = Preprocessing(mean=known.mean, std=known.std, image_size=known.image_size)
    pixels, labels = zip(*labelled_batches(open_labelled(asked.train, 10), preprocessing, 1024), strict=True)
    torch.manual_seed(asked.seed)
    network = known.build(num_classes=10, in_channels=preprocessing.channels).to(pick_device(asked.device))
    started = time.monotonic()
    train(network, torch.cat(pixels), torch.cat(labels), preprocessing, epochs=asked.epochs, lr=asked.lr)
    seconds = time.monotonic() - started
    accuracy = top1(network, open_labelled(asked.eval, 10), preprocessing)
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(asked.out, safetensors.torch.save(state, {"seed": str(asked.seed), "top1": f"{accuracy:.4f}"}))
    print(json.dumps({"network": asked.network, "top1": accuracy, "epochs": asked.epochs, "seconds": round(seconds)}))


if __name__ == "__main__":
    main()
