"""The search for the preset ``fast``: how few steps lose no student accuracy against the published recipe.

    python tests/benchmarks/search_fast.py --teacher digits_cnn --student digits_cnn_small --eval digits --out FOLDER
        [--weights FILE] [--images 512] [--epochs 40] [--seeds 3] [--only NAME] [--no-flip] [--json]

Each candidate makes the same number of images, from which students with the same schedule are trained; seed s makes its
own images and its own student. Results are kept in FOLDER/results.json as they come, so a search that was stopped goes
on; ``--one-set`` makes the images of seed 0 alone, and trains every seed's student from them.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.recipe import Training
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.runtime import write_text

COSINE = {"schedule": "cosine"}
CANDIDATES: dict[str, dict[str, Any]] = {
    "published": {},
    **{
        f"{steps} steps, lr {lr}": {"steps": (steps,), "lr": lr, **COSINE}
        for steps in (25, 50, 100, 200)
        for lr in (0.1, 0.2)
    },
    **{
        f"{steps} steps, lr {lr}, feature {weight:g}": {"steps": (steps,), "lr": lr, "alpha_feature": weight, **COSINE}
        for steps, lr in ((50, 0.2), (100, 0.1), (100, 0.2))
        for weight in (1.0, 3.0)
    },
    **{
        f"{steps} steps, lr {lr}, tv {weight:g}": {"steps": (steps,), "lr": lr, "alpha_tv": weight, **COSINE}
        for steps, lr in ((100, 0.2), (200, 0.2))
        for weight in (0.02, 0.05)
    },
}


def one(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """Images and student of one candidate and seed."""
    folder = arguments.out / name.replace(" ", "").replace(",", "-")
    image_seed = 0 if arguments.one_set else seed
    shards = folder / f"shards{image_seed}"
    made = invert.run(
        InvertConfig(
            teacher=arguments.teacher,
            weights=arguments.weights,
            recipe="cifar10-deepinversion",
            changes=CANDIDATES[name],
            images=arguments.images,
            out=shards,
            seed=image_seed,
            workers=arguments.workers,
        )
    )
    trained = distill.run(
        DistillConfig(
            shards=shards,
            student=arguments.student,
            training=Training(epochs=arguments.epochs, flip=arguments.flip),
            eval=arguments.eval,
            out=folder / f"student{seed}",
            seed=seed,
        )
    )
    assert trained.student_top1 is not None
    return {"student_top1": trained.student_top1, "agreement": made.agreement}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--student", required=True)
    parser.add_argument("--eval", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--only", action="append", choices=list(CANDIDATES))
    parser.add_argument("--one-set", action="store_true")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only or CANDIDATES:
        row = results.setdefault(name, {})
        for seed in range(arguments.seeds):
            if str(seed) not in row:
                row[str(seed)] = one(arguments, name, seed)
                write_text(path, json.dumps(results, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(results))
        return
    for name, row in results.items():
        accuracy = [seed["student_top1"] * 100 for seed in row.values()]
        agreement = statistics.mean(seed["agreement"] for seed in row.values())
        spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        print(f"| {name} | {statistics.mean(accuracy):.2f} ± {spread:.2f} | {agreement:.2f} |")


if __name__ == "__main__":
    main()
