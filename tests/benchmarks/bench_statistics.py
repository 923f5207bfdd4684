"""The BatchNorm statistics with their gradient, ours against torch.var_mean and autograd, in turn.

    python tests/benchmarks/bench_statistics.py [--threads 1] [--rounds 9] [--json]

Milliseconds of forward and backward for a few layers' shapes, channels_last, medians of paired rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dreamdistill.invert.statistics import statistics_distance

SHAPES = {
    "ResNet-20, first stage, batch 256": (256, 16, 32, 32),
    "ResNet-20, last stage, batch 256": (256, 64, 8, 8),
    "EfficientNet-Lite0, 56 px, batch 8": (8, 96, 56, 56),
}


def plain(x: Tensor, mean_C: Tensor, var_C: Tensor) -> Tensor:
    """The definition, with torch's own statistics."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return torch.linalg.vector_norm(mean - mean_C) + torch.linalg.vector_norm(var - var_C)


def milliseconds(term: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, mean_C: Tensor, var_C: Tensor) -> float:
    begun = time.perf_counter()
    torch.autograd.grad(term(x, mean_C, var_C), x)
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[str, dict[str, float]] = {}
    for name, shape in SHAPES.items():
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
        running = torch.randn(shape[1]), torch.rand(shape[1])
        rounds = [
            [milliseconds(term, x, *running) for term in (plain, statistics_distance)]
            for _ in range(arguments.rounds + 2)
        ]
        theirs, ours = (list(column) for column in zip(*rounds[2:], strict=True))
        results[name] = {
            "var_mean_ms": round(statistics.median(theirs), 2),
            "ours_ms": round(statistics.median(ours), 2),
            "ratio": round(statistics.median(a / b for a, b in zip(theirs, ours, strict=True)), 2),
        }
    print(json.dumps(results) if arguments.json else "\n".join(f"{key}: {value}" for key, value in results.items()))


if __name__ == "__main__":
    main()
