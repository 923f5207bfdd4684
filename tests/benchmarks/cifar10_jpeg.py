"""A real CIFAR-10 teacher through every stage, measured on the JPEG test images.

    python tests/benchmarks/cifar10_jpeg.py --data FOLDER [--images 1024] [--seed 0]

FOLDER holds cifar10-resnet20.safetensors, trained on lossless CIFAR-10, and cifar10-jpeg-test.tar.xz, the 10,000 test
images as lossy JPEG, which costs this teacher ten points. The figures are for "CIFAR-10 JPEG", and cannot be compared
with a paper's. All other settings are the defaults of the commands.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert.config import InvertConfig
from dreamdistill.pipelines.plan import Pipeline, Stage
from dreamdistill.pipelines.running import run
from dreamdistill.prune.config import PruneConfig


def pipeline(data: Path, out: Path, *, images: int, seed: int) -> Pipeline:
    """Images, a student of the same architecture, and the teacher without 30 % of its filters."""
    test = str(data / "cifar10-jpeg-test.tar.xz")
    shards = out / "synthetic"
    synthetic = InvertConfig(
        teacher="cifar_resnet20",
        weights=str(data / "cifar10-resnet20.safetensors"),
        images=images,
        out=shards,
        seed=seed,
    )
    student = DistillConfig(shards=shards, eval=test, out=out / "student", seed=seed)
    pruned = PruneConfig(shards=shards, latency_batch=32, eval=test, out=out / "pruned", seed=seed)
    return Pipeline(
        out=out,
        latency_batch=32,
        stages=(
            Stage(name="synthetic", kind="invert", config=synthetic),
            Stage(name="student", kind="distill", config=student),
            Stage(name="pruned", kind="prune", config=pruned),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10-jpeg"))
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    settings = vars(parser.parse_args())
    print(json.dumps(run(pipeline(settings.pop("data"), settings.pop("out"), **settings))))


if __name__ == "__main__":
    main()
