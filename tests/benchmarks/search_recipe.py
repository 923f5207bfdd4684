"""Compares recipes by the students that are trained on their images.

    python tests/benchmarks/search_recipe.py --teacher digits_cnn --student digits_cnn_small --eval digits --out FOLDER
        [--group natural] [--weights FILE] [--images 512] [--epochs 120] [--seeds 3] [--only NAME] [--no-flip] [--json]

There are two groups. ``steps`` looks for the fewest steps that lose no accuracy compared with the published recipe.
``natural`` is that preset with one setting changed at a time. ``--no-flip`` is for digits: it mirrors no images.

Each candidate makes the same number of images, and students with the same schedule are trained on them. Each seed makes
its own images and its own student. With ``--one-set``, seed 0 makes the images for the students of all seeds. Results
are saved in FOLDER/results.json one by one, so a search that was stopped can go on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from students import add_options, training

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.config import to_mapping
from dreamdistill.shared.core.files import write_text

COSINE = {"schedule": "cosine"}
Candidate = tuple[str, dict[str, Any]]  # a preset, and the settings that replace its own

STEPS: dict[str, Candidate] = {
    "published": ("cifar10-deepinversion", {}),
    **{
        f"{steps} steps, lr {lr}{what}": (
            "cifar10-deepinversion",
            {"steps": (steps,), "lr": lr, **COSINE, **changes},
        )
        for steps, lr, what, changes in (
            *((steps, lr, "", {}) for steps in (25, 50, 100, 200) for lr in (0.1, 0.2)),
            *(
                (steps, lr, f", feature {weight:g}", {"alpha_feature": weight})
                for steps, lr in ((50, 0.2), (100, 0.1), (100, 0.2))
                for weight in (1.0, 3.0)
            ),
            *(
                (steps, lr, f", tv {weight:g}", {"alpha_tv": weight})
                for steps, lr in ((100, 0.2), (200, 0.2))
                for weight in (0.02, 0.05)
            ),
        )
    },
}
CHANGES: dict[str, dict[str, Any]] = {
    "natural": {},
    "pixels, total variation 0.05": {"parametrization": "pixels", "alpha_tv": 0.05},
    "the batch shifted alike": {"shift": "batch"},
    "no flip": {"flip": False},
    "no shift": {"jitter": 0},
    "beyond the range of pixels": {"clip": False},
    "images of a class may be alike": {"alpha_similar": 0.0},
    "images of a class kept apart, weight 1": {"alpha_similar": 1.0},
    "images of a class kept apart, weight 10": {"alpha_similar": 10.0},
    "statistics, weight 10": {"alpha_feature": 10.0},
    "statistics, weight 100": {"alpha_feature": 100.0},
    "absolute statistics, weight 1": {"statistics": "absolute", "alpha_feature": 1.0},
    "learning rate 0.05": {"lr": 0.05},
    "learning rate 0.1": {"lr": 0.1},
    "learning rate 0.4": {"lr": 0.4},
    "100 steps": {"steps": (100,)},
    "400 steps": {"steps": (400,)},
}
GROUPS: dict[str, dict[str, Candidate]] = {
    "steps": STEPS,
    "natural": {name: ("natural", changes) for name, changes in CHANGES.items()},
}


def one(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """Images and student of one candidate and seed."""
    folder = arguments.out / name.replace(" ", "").replace(",", "-")
    image_seed = 0 if arguments.one_set else seed
    shards = folder / f"shards{image_seed}"
    recipe, changes = GROUPS[arguments.group][name]
    made = invert.run(
        InvertConfig(
            teacher=arguments.teacher,
            weights=arguments.weights,
            recipe=recipe,
            changes=changes if arguments.flip else {"flip": False, **changes},
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
            changes=to_mapping(training(arguments)),
            eval=arguments.eval,
            out=folder / f"student{seed}",
            seed=seed,
        )
    )
    assert trained is not None
    assert trained.student_top1 is not None
    assert made.agreement is not None
    return {"student_top1": trained.student_top1, "agreement": made.agreement}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, epochs=120)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--group", choices=GROUPS, default="natural")
    parser.add_argument("--only", action="append", help="one candidate of the group; may be given again")
    parser.add_argument("--one-set", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only or GROUPS[arguments.group]:
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
