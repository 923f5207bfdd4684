"""Samples per second of the loaders on the same shards: ``python tests/benchmarks/bench_loaders.py [--json]``.

There are two data sets of noise images: 32 px PNG with 10 classes, and 224 px JPEG with 1000 classes. Four epochs of
each loader are timed in turn, after a round that is not timed; figures are medians. DALI prefetches two batches, which
may be ready when its turn begins: 2 and 3 % of the samples that are timed. ``memory`` is the set kept in memory, as
training takes it where it fits; what decoding it once costs is in the round that is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.stage import run
from dreamdistill.shared.core.device import cpu_count
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import make_loader

SETS = {
    "32 px PNG, 10 classes": {"teacher": "cifar_resnet20", "num_classes": 10, "image_size": 32, "images": 4096},
    "224 px JPEG, 1000 classes": {"teacher": "cifar_resnet20", "num_classes": 1000, "image_size": 224, "images": 256},
}
BATCH_SIZES = {"32 px PNG, 10 classes": 128, "224 px JPEG, 1000 classes": 16}
EPOCHS = 4


def measure(folder: ShardFolder, batch_size: int, rounds: int) -> dict[str, float]:
    """Median samples per second of each loader, and their ratio."""
    device = torch.device("cpu")
    settings: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "seed": 0, "device": device}
    settings["threads"] = cpu_count()
    loaders = {kind: make_loader(folder, kind, in_memory=False, **settings) for kind in ("dali", "webdataset")}
    loaders["memory"] = make_loader(folder, "auto", in_memory=True, **settings)
    rates: dict[str, list[float]] = {kind: [] for kind in loaders}
    for round_number in range(rounds + 1):
        for kind, loader in loaders.items():
            begun = time.perf_counter()
            count = sum(len(batch) for _ in range(EPOCHS) for batch in loader)
            if round_number:
                rates[kind].append(count / (time.perf_counter() - begun))
    found = {kind: round(statistics.median(values), 1) for kind, values in rates.items()}
    for kind in ("dali", "memory"):
        ratios = [a / b for a, b in zip(rates[kind], rates["webdataset"], strict=True)]
        found[f"{kind}_over_webdataset"] = round(statistics.median(ratios), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: dict[str, object] = {
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, settings) in enumerate(SETS.items()):
            out = Path(temporary) / str(number)
            run(InvertConfig(out=out, recipe="noise", weights="none", workers=1, **settings))
            results[name] = measure(ShardFolder.open(out), BATCH_SIZES[name], arguments.rounds)
    print(json.dumps(results) if arguments.json else "\n".join(f"{key}: {value}" for key, value in results.items()))


if __name__ == "__main__":
    main()
