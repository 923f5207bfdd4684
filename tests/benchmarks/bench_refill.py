"""An experiment, early stop and refill: does it help to replace an image that has converged by a new one?

    python tests/benchmarks/bench_refill.py [--steps 100] [--images 512] [--seeds 3] [--epochs 150] [--json]

On digits_cnn, with batches of 256 images. ``fixed`` is the engine. In ``refill``, each image has its own age, Adam
state and cosine schedule. Every 10 steps, an image leaves the batch when it is older than --min-age and its own
cross-entropy is below --converged, or when it has its full age. Noise for the next target takes its place. The
statistics are an exponential mean over steps, to which the batch contributes a tenth, so that a batch of mixed ages
need not match them alone. ``shorter`` is the engine with as many steps as the images of ``refill`` had on average, for
a fair comparison. The students are the same for all.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.engine import Engine, Synthesis
from dreamdistill.invert.objective import l2_norm, total_variation
from dreamdistill.shared.core.numerics import generator
from dreamdistill.shared.models.features import batchnorm_layers

BATCH, EVERY, MOMENTUM = 256, 10, 0.9


class RefillEngine(Engine):
    """Makes any number of images with one batch of 256, where new images take the places of those that leave."""

    min_age = 25
    converged = 0.1
    ages: list[int]  # at which images left, in all calls

    def synthesize(self, targets_N: Tensor, *, seed: int, progress: Any = None) -> Synthesis:
        recipe, steps = self.recipe, self.recipe.steps[0]
        jitter = recipe.jitter or 0
        shape = self.teacher.preprocessing.blank(BATCH).shape
        draw = generator(self.device, seed)
        waiting = list(range(BATCH, len(targets_N)))
        place = torch.arange(BATCH)  # the number of the image in each row; -1 if none is left to make
        x = torch.randn(shape, generator=draw).requires_grad_()
        first, second, age = torch.zeros(shape), torch.zeros(shape), torch.zeros(BATCH)
        made = torch.empty(len(targets_N), *shape[1:])
        means: list[tuple[Tensor, Tensor] | None] = [None] * len(batchnorm_layers(self.network))
        inputs: list[Tensor] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
            for layer in batchnorm_layers(self.network)
        ]
        terms: dict[str, float] = {}
        step = 0
        while (place >= 0).any():
            inputs.clear()
            shift = torch.randint(-jitter, jitter + 1, (2,), generator=draw).tolist()
            losses_N = F.cross_entropy(
                self.network(x.roll(shift, (2, 3))), targets_N[place.clamp_min(0)], reduction="none"
            )
            feature = self._feature(inputs, means)
            loss = losses_N.mean() + recipe.alpha_feature * feature
            loss = loss + recipe.alpha_tv * total_variation(x) + recipe.alpha_l2 * l2_norm(x)
            (gradient,) = torch.autograd.grad(loss, x)
            with torch.no_grad():
                age += 1
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.001)
                column = age[:, None, None, None]
                rate = recipe.lr * 0.5 * (1 + torch.cos(math.pi * (column - 1) / steps))
                x -= rate * (first / (1 - 0.9**column)) / ((second / (1 - 0.999**column)).sqrt() + 1e-8)
                step += 1
                if step % EVERY == 0:
                    done = (age >= steps) | ((age >= self.min_age) & (losses_N < self.converged))
                    for row in torch.nonzero(done & (place >= 0)).flatten().tolist():
                        made[place[row]] = x[row]
                        self.ages.append(int(age[row]))
                        place[row] = waiting.pop(0) if waiting else -1
                        x[row] = torch.randn(shape[1:], generator=draw)
                        first[row], second[row], age[row] = 0, 0, 0
            terms = {"class": float(losses_N.mean()), "feature": float(feature)}
        for handle in handles:
            handle.remove()
        return Synthesis(x=made, losses=terms)

    def _feature(self, inputs: list[Tensor], means: list[Any]) -> Tensor:
        total = torch.zeros(())
        for number, (x, layer) in enumerate(zip(inputs, batchnorm_layers(self.network), strict=True)):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            var_C, mean_C = torch.var_mean(x, (0, 2, 3), correction=0)
            if (before := means[number]) is not None:
                mean_C = MOMENTUM * before[0] + (1 - MOMENTUM) * mean_C
                var_C = MOMENTUM * before[1] + (1 - MOMENTUM) * var_C
            means[number] = (mean_C.detach(), var_C.detach())
            total = total + (mean_C - layer.running_mean).norm() + (var_C - layer.running_var).norm()
        return total


def student(arguments: argparse.Namespace, engine: type[Engine], steps: int, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder, mock.patch("dreamdistill.invert.shard.Engine", engine):
        shards = Path(folder) / "shards"
        batch = arguments.images if engine is RefillEngine else BATCH
        invert.run(
            InvertConfig(
                teacher="digits_cnn",
                recipe="cifar10-deepinversion",
                changes={"steps": (steps,), "lr": arguments.lr, "schedule": "cosine", "batch_size": batch},
                images=arguments.images,
                out=shards,
                seed=seed,
                workers=1,
            )
        )
        trained = distill.run(
            DistillConfig(
                shards=shards,
                student="digits_cnn_small",
                changes={"epochs": arguments.epochs, "flip": False},
                eval="digits",
                out=Path(folder) / "student",
                seed=seed,
            )
        )
        assert trained is not None
        assert trained.student_top1 is not None
        return trained.student_top1 * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--min-age", type=int, default=25)
    parser.add_argument("--converged", type=float, default=0.5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    RefillEngine.min_age, RefillEngine.converged, RefillEngine.ages = arguments.min_age, arguments.converged, []
    rows: dict[str, Any] = {}
    for name, engine in (("fixed", Engine), ("refill", RefillEngine), ("shorter", Engine)):
        steps = round(statistics.mean(RefillEngine.ages)) if name == "shorter" else arguments.steps
        top1 = [student(arguments, engine, steps, seed) for seed in range(arguments.seeds)]
        rows[name] = {
            "steps_an_image": round(statistics.mean(RefillEngine.ages), 1) if name == "refill" else steps,
            "student_top1": [round(value, 2) for value in top1],
            "mean": round(statistics.mean(top1), 2),
        }
    print(json.dumps(rows) if arguments.json else "\n".join(f"{name}: {row}" for name, row in rows.items()))


if __name__ == "__main__":
    main()
