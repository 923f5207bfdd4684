"""What checking a large shard folder costs: ``di-shards verify``, and the check before a training.

    python tests/benchmarks/bench_verify.py --shards 10000 --images 8 --json

The images are noise, 32 px PNG, from the page cache. docs/performance.md quotes its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamdistill.shared.data.images import encode_image
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.contract import Sample
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.manifest import Manifest
from dreamdistill.shared.shards.records import CommitRecord
from dreamdistill.shared.shards.verification import check_indexes, verify, verify_once
from dreamdistill.shared.shards.writer import write_info, write_shard

SIZE, CLASSES = 32, 10


def make_folder(path: Path, *, shards: int, images: int) -> None:
    teacher = load_model("cifar_resnet20", weights="none").record()
    empty = Manifest(teacher=teacher, rounds=())
    total = shards * images
    item = empty.next_round(
        recipe={"name": "noise"}, images=total, shard_size=images, format="png", student=None, batch=images
    )
    manifest = empty.with_round(item)
    path.mkdir()
    manifest.save(path)
    pixels_NCHW = torch.randint(0, 256, (images, 3, SIZE, SIZE), dtype=torch.uint8)
    logits = np.zeros(CLASSES, np.float16)
    samples = [
        Sample(image=encode_image(x, "png"), logits=logits, target=i % CLASSES) for i, x in enumerate(pixels_NCHW)
    ]
    making = {
        "seed": 0,
        "seconds": 1.0,
        "worker": "bench:1",
        "losses": {"class": 0.1},
        "agreement": 1.0,
        "clipped": 0.0,
    }
    for plan in manifest.shards():
        write_shard(path, plan, samples, commit=lambda **files: CommitRecord(**files, **making))
    write_info(path, manifest)


def seconds(work: Callable[[], object], *, times: int) -> float:
    """Median wall time."""
    found: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return round(statistics.median(found), 2)


def measure(folder: Path, *, times: int) -> dict[str, Any]:
    shards = ShardFolder.open(folder)
    assert verify(folder) == []  # warms the page cache up
    found: dict[str, Any] = {
        "bytes": sum(record.bytes for record in shards.records.values()),
        "open": seconds(lambda: ShardFolder.open(folder), times=times),
        "verify": seconds(lambda: verify(folder), times=times),
        "verify_once_first": seconds(lambda: verify_once(shards), times=1),
    }
    found["verify_once_again"] = seconds(lambda: verify_once(shards), times=times)
    found["no_verify"] = seconds(lambda: check_indexes(shards), times=times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=8, help="images of a shard")
    parser.add_argument("--times", type=int, default=3, help="measurements, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_STATE_HOME"] = str(Path(temporary) / "state")
        folder = Path(temporary) / "shards"
        make_folder(folder, shards=arguments.shards, images=arguments.images)
        found = measure(folder, times=arguments.times)
    print(json.dumps(found) if arguments.json else "\n".join(f"{key}: {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
