"""What distributing the work costs: images a second with one and two workers, and the overhead of a shard.

    python tests/benchmarks/bench_fanout.py scaling  [--teacher cifar_resnet20] [--steps 40] [--rounds 3] [--json]
    taskset -c 0 python tests/benchmarks/bench_fanout.py overhead [--teacher digits_cnn] [--shards 3] [--json]

``scaling``: new commands in turn, one thread per worker. The rate is taken between commit records (the times of their
files), from the first record of each worker on, so that the start is not counted. efficiency: the rate of two workers
divided by twice the rate of one.

``overhead``: in one process, the optimisation of the batches alone, then the whole work on as many shards: with
encoding, labels, writing, and the wait for the last shard to be written. share: how much longer the whole takes, as a
share of the whole. Run it on one processor, since the thread that writes would use a second one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.engine import batch_seed
from dreamdistill.invert.inputs import load_inputs
from dreamdistill.invert.plan import make_plan, place_round
from dreamdistill.invert.worker import Worker

IMAGES, SHARDS = 64, 12  # of scaling: images a shard, shards


def rate(arguments: argparse.Namespace, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from dreamdistill.invert.cli import main; main()", "--out", folder]
        command += ["--teacher", arguments.teacher, "--weights", arguments.weights or "none", "--compile", "off"]
        command += ["--recipe", "cifar10-deepinversion", "--steps", str(arguments.steps), "--workers", str(workers)]
        command += ["--images", str(SHARDS * IMAGES), "--shard-size", str(IMAGES), "--batch-size", str(IMAGES)]
        subprocess.run(command, check=True, capture_output=True)
        times = sorted(path.stat().st_mtime for path in Path(folder).glob("0*.json"))
        return (SHARDS - workers) * IMAGES / (times[-1] - times[workers - 1])


def scaling(arguments: argparse.Namespace) -> dict[str, float]:
    pairs = [(rate(arguments, 1), rate(arguments, 2)) for _ in range(arguments.rounds)]
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "images_a_second_1": round(one, 3),
        "images_a_second_2": round(two, 3),
        "efficiency": round(statistics.median(b / (2 * a) for a, b in pairs), 3),
    }


def overhead(arguments: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = InvertConfig(
            teacher=arguments.teacher,
            weights=arguments.weights,
            out=Path(folder),
            recipe="cifar10-deepinversion",
            changes={"steps": (200,), "lr": 0.2, "schedule": "cosine", "alpha_tv": 0.05},
            images=1000 * arguments.shards,
            shard_size=1000,
            compile="off",
        )
        inputs = load_inputs(config)
        manifest, number = place_round(inputs)
        plan = make_plan(inputs, manifest, number)
        assert inputs.device is not None
        worker = Worker(
            plan.job,
            inputs.device,
            inputs.teacher,
            report=lambda outcome: None,
            progress=lambda number, fraction, losses: None,
            log=lambda line: None,
        )
        size = plan.job.round.batch
        begun = time.monotonic()
        for shard in plan.pending:
            for batch in range(-(-shard.count // size)):
                seed = batch_seed(seed=0, round=0, shard=shard.number, batch=batch, attempt=0)
                worker.maker.engine.synthesize(torch.arange(size) % inputs.teacher.num_classes, seed=seed)
        alone = time.monotonic() - begun
        begun = time.monotonic()
        for shard in plan.pending:
            worker.make(shard)
        worker.close()
        whole = time.monotonic() - begun
    return {
        "seconds_a_shard": round(whole / arguments.shards, 2),
        "optimisation_seconds_a_shard": round(alone / arguments.shards, 2),
        "share": round((whole - alone) / whole, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scaling", "overhead"))
    parser.add_argument("--teacher")
    parser.add_argument("--weights")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "scaling":
        arguments.teacher = arguments.teacher or "cifar_resnet20"
        result = scaling(arguments)
    else:
        arguments.teacher = arguments.teacher or "digits_cnn"
        result = overhead(arguments)
    print(json.dumps(result) if arguments.json else result)


if __name__ == "__main__":
    main()
