"""How close ``di-prune --latency`` comes to its budget: what is left is timed again, beside the whole network.

    python tests/benchmarks/bench_latency.py [--compile] --json

Weights are random, with BatchNorms that have seen noise: time does not depend on what a network knows. It prints, for
each network and batch, the shares of the time (median of paired rounds) and of the multiply-adds that are left, and how
much of the whole network's time its layers take alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch
from networks import calibrated
from torch import nn

from dreamdistill.prune.config import Budget
from dreamdistill.prune.job import FAST
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.schedule import prune_network
from dreamdistill.prune.units import Latency
from dreamdistill.shared.core.device import pick_device
from dreamdistill.shared.models.cost import count_macs, paired_rounds

NETWORKS = {"cifar_resnet20": 32, "resnet18": 112}  # name -> side of its images
BATCHES = (1, 32)
IMAGES = 128
ROUNDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--left", type=float, default=0.5, help="share of the time that may be left")
    parser.add_argument("--compile", action="store_true", help="the networks' time is that of torch.compile")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    found: dict[str, dict[str, float]] = {}
    for name, side in NETWORKS.items():
        for batch in BATCHES:
            title = f"{name}, {side} px, batch {batch}"
            unit = Latency(batch=batch, device=device, compiled=options.compile)
            found[title] = measure(calibrated(name, side).to(device), side, unit, options.left)
            print(title, found[title], file=sys.stderr, flush=True)
    if options.json:
        how = {"threads": torch.get_num_threads(), "device": device.type, "compiled": options.compile}
        print(json.dumps({**how, "left": options.left, **found}))
        return
    for title, each in found.items():
        print(f"{title}: {each['latency']:.3f} of the time, {each['macs']:.3f} of the multiply-adds")


def measure(network: nn.Module, side: int, unit: Latency, left: float) -> dict[str, float]:
    started = time.monotonic()
    network.requires_grad_(False)
    device = unit.device
    example_NCHW = torch.randn(1, 3, side, side, device=device)
    x_NCHW, targets_N = torch.randn(IMAGES, 3, side, side, device=device), torch.arange(IMAGES, device=device) % 10
    budget = Budget(option="latency", left=left)
    plan = plan_pruning(network, budget, example_NCHW=example_NCHW, unit=unit, round_to=FAST)
    cut = prune_network(
        network, plan, iterations=1, batches=lambda: zip(x_NCHW.split(32), targets_N.split(32), strict=True),
        example_NCHW=example_NCHW,
    ).fitted.network  # fmt: skip
    seconds = time.monotonic() - started
    images, timed = unit.images(example_NCHW), unit.runnable([network, cut])
    with torch.no_grad():
        times = paired_rounds([lambda run=run: run(images) for run in timed], device=device, rounds=ROUNDS)
    return {
        "latency": round(float((times[:, 1] / times[:, 0]).median()), 4),
        "macs": round(count_macs(cut, example_NCHW) / count_macs(network, example_NCHW), 4),
        "layers_over_whole": round(1 / plan.scale, 3),
        "ms_before": round(1e3 * float(times[:, 0].median()), 3),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
