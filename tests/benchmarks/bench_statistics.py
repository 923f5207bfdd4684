"""The BatchNorm statistics with their gradient, ours against torch.var_mean and autograd, in turn.

    python tests/benchmarks/bench_statistics.py [--threads 1] [--rounds 9] [--json]

Milliseconds of forward and backward, channels_last: of the term alone for a few layers' shapes, and of a whole step
(network, cross-entropy, statistics; gradient to the images). Medians of paired rounds, random weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdistill.invert import statistics as taps_module
from dreamdistill.invert.statistics import BatchNormTaps, statistics_distance
from dreamdistill.shared.teachers import load_teacher

LAYERS = {
    "layer: ResNet-20, first stage, batch 256": (256, 16, 32, 32),
    "layer: ResNet-20, last stage, batch 256": (256, 64, 8, 8),
    "layer: EfficientNet-Lite0, 56 px, batch 8": (8, 96, 56, 56),
}
NETWORKS = {
    "step: ResNet-20, 32 px, batch 64": ("cifar_resnet20", 64, 32),
    "step: EfficientNet-Lite0, 112 px, batch 8": ("timm/tf_efficientnet_lite0", 8, 112),
    "step: ResNet-50, 112 px, batch 8": ("resnet50", 8, 112),
}


def plain(x: Tensor, mean_C: Tensor, var_C: Tensor) -> Tensor:
    """The definition, with torch's own statistics and their automatic gradient."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return torch.linalg.vector_norm(mean - mean_C) + torch.linalg.vector_norm(var - var_C)


def layer(shape: tuple[int, ...], term: Callable[..., Tensor]) -> Callable[[], None]:
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    running = torch.randn(shape[1]), torch.rand(shape[1])
    return lambda: torch.autograd.grad(term(x, *running), x) and None


def step(network: nn.Module, batch: int, size: int, term: Callable[..., Tensor]) -> Callable[[], None]:
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()

    def run() -> None:
        taps_module.statistics_distance = term
        with BatchNormTaps(network) as taps:
            loss = F.cross_entropy(network(x), torch.arange(batch) % 10) + taps.collect().sum()
        torch.autograd.grad(loss, x)

    return run


def compare(theirs: Callable[[], None], ours: Callable[[], None], rounds: int) -> dict[str, float]:
    times: list[list[float]] = []
    for _ in range(rounds + 2):  # two to warm up
        times.append([])
        for work in (theirs, ours):
            begun = time.perf_counter()
            work()
            times[-1].append((time.perf_counter() - begun) * 1e3)
    columns = list(zip(*times[2:], strict=True))
    return {
        "var_mean_ms": round(statistics.median(columns[0]), 2),
        "ours_ms": round(statistics.median(columns[1]), 2),
        "ratio": round(statistics.median(a / b for a, b in times[2:]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[str, dict[str, float]] = {}
    for name, shape in LAYERS.items():
        results[name] = compare(layer(shape, plain), layer(shape, statistics_distance), arguments.rounds)
    for name, (teacher, batch, size) in NETWORKS.items():
        network = load_teacher(teacher, weights="none").network.to(memory_format=torch.channels_last)
        steps = [step(network, batch, size, term) for term in (plain, statistics_distance)]
        results[name] = compare(steps[0], steps[1], arguments.rounds)
    print(json.dumps(results) if arguments.json else "\n".join(f"{key}: {value}" for key, value in results.items()))


if __name__ == "__main__":
    main()
