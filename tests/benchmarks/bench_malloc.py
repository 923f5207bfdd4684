"""What a step costs where freed memory goes back to the kernel, and where malloc keeps it, as the commands have it.

    python tests/benchmarks/bench_malloc.py --json

A step is a forward and a backward pass of a teacher to its input, in one thread. The processor's seconds are medians,
those of the kernel apart. The two ways take turns in two processes, each with a state of malloc of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from dreamdistill.shared.core.malloc import keep_freed_memory
from dreamdistill.shared.models.networks import NETWORKS

SIDE = 40  # of CIFAR images with their border


def make_step(network: str, batch: int, *, compiled: bool) -> Callable[[], None]:
    module = NETWORKS[network].build(num_classes=10, in_channels=3).eval().requires_grad_(False)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(module) if compiled else module
    x_NCHW = torch.randn(batch, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last).requires_grad_(True)

    def step() -> None:
        torch.autograd.grad(forward(x_NCHW).logsumexp(1).sum(), x_NCHW)

    return step


def serve(pipe: Connection, asked: argparse.Namespace, keeps: bool) -> None:
    """Take a step for each number that comes; send the processor's seconds and the kernel's, and at last the memory."""
    torch.set_num_threads(1)
    if keeps:
        keep_freed_memory({})
    step = make_step(asked.network, asked.batch, compiled=asked.compile)
    step()
    step()
    pipe.send(None)  # ready
    while pipe.recv():
        before = resource.getrusage(resource.RUSAGE_SELF)
        step()
        after = resource.getrusage(resource.RUSAGE_SELF)
        kernel = after.ru_stime - before.ru_stime
        pipe.send((after.ru_utime - before.ru_utime + kernel, kernel))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds and megabytes of both ways, and the median ratio of a pair of steps."""
    context = multiprocessing.get_context("spawn")
    ways: dict[str, Connection] = {}
    for name in ("given back", "kept"):
        ways[name], other = context.Pipe()
        context.Process(target=serve, args=(other, asked, name == "kept"), daemon=True).start()
        ways[name].recv()  # one starts after the other: compiling takes all memory and processors
    steps: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, pipe in ways.items():
            pipe.send(1)
            steps[name].append(pipe.recv())
    found: dict[str, Any] = {}
    for name, pipe in ways.items():
        pipe.send(0)
        whole, kernel = (statistics.median(part) for part in zip(*steps[name], strict=True))
        found[name] = {"seconds": round(whole, 3), "kernel": round(kernel, 3), "megabytes": pipe.recv()}
    pairs = zip(steps["kept"], steps["given back"], strict=True)
    found["ratio"] = round(statistics.median(kept[0] / back[0] for kept, back in pairs), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="cifar_resnet20", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked)
    print(json.dumps(found) if asked.json else found)


if __name__ == "__main__":
    main()
