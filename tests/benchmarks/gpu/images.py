"""GPU day, part c: seconds an image of the two large recipes, for ResNet-50 at 224 px with random weights.

A few steps are timed at each resolution, and multiplied by the recipe's number of steps. Encoding and labelling run
beside the optimisation in ``di-invert``, and are not counted. First all steps are timed eagerly, then compiled for as
long as there is time, the most costly first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from gpu.part import Run, run_part, with_noise_statistics

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.shards.manifest import Execution

NAMES = ("imagenet-deepinversion", "natural-large")
COMPILING = 70  # seconds that compiling a step may take (ResNet-50 on an H100: 57)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The steps of one recipe at one of its resolutions."""

    recipe: str
    index: int
    size: int
    steps: int

    @property
    def title(self) -> str:
        return f"{self.recipe}, {self.size} px"


def measure(run: Run) -> None:
    name, batch, steps = ("digits_cnn", 2, (1, 2)) if run.rehearse else ("resnet50", 84, (5, 25))
    teacher = load_model(name, weights="none", device=run.device)
    with_noise_statistics(teacher.network, torch.randn_like(teacher.preprocessing.blank(8, run.device)))
    stretches = [
        Stretch(recipe=recipe, index=index, size=resolution.size, steps=resolution.steps)
        for recipe in NAMES
        for index, resolution in enumerate(RECIPES[recipe].resolutions(teacher.preprocessing.image_size))
    ]
    milliseconds: dict[str, dict[str, float]] = {"eager": {}, "compiled": {}}
    run.write(teacher=name, batch_size=batch, steps_timed=steps[1] - steps[0])
    for form, seconds in milliseconds.items():
        for stretch in sorted(stretches, key=lambda each: each.steps * each.size**2, reverse=True):
            if form == "compiled" and not run.rehearse and run.left() < COMPILING:
                continue
            engine = _engine(run, teacher, stretch, compile=form == "compiled")
            seconds[stretch.title] = 1e3 * _seconds_a_step(engine, stretch, batch, *steps)
            run.write(milliseconds_a_step=milliseconds, seconds_an_image=_by_image(stretches, milliseconds, batch))
    for recipe, found in run.result["seconds_an_image"].items():
        sizes = " and ".join(map(str, found["compiled_at_px"])) or "no"
        run.write(f"{recipe}: {found['best']} s an image ({sizes} px compiled), {found['eager']} eager; extrapolated")


def _engine(run: Run, teacher: Classifier, stretch: Stretch, *, compile: bool) -> Engine:
    torch.compiler.reset()
    execution = Execution(compile=compile, precision="bfloat16" if run.device.type == "cuda" else "float32")
    recipe = RECIPES[stretch.recipe].changed({"alpha_compete": 0.0})
    return Engine(teacher, recipe, execution=execution, log=lambda line: print(line, flush=True))


def _seconds_a_step(engine: Engine, stretch: Stretch, batch: int, few: int, many: int) -> float:
    """The time of ``many`` steps less that of ``few``, so that what a batch costs once does not count."""
    targets_N = torch.arange(batch) % engine.teacher.num_classes

    def seconds(steps: int) -> float:
        engine.recipe = engine.recipe.changed({"steps": tuple(steps * (i == stretch.index) for i in range(2))})
        started = time.perf_counter()
        engine.synthesize(targets_N, seed=0)  # reads the losses at its end, and so waits for the device
        return time.perf_counter() - started

    for _ in range(2):
        seconds(few)  # compiles, and captures a CUDA graph
    return max(0.0, seconds(many) - seconds(few)) / (many - few)


def _by_image(stretches: list[Stretch], milliseconds: dict[str, dict[str, float]], batch: int) -> dict[str, Any]:
    """Extrapolated seconds an image of each recipe: eager, and by the fastest form that was measured at each size."""
    found: dict[str, Any] = {}
    for recipe in NAMES:
        parts = [each for each in stretches if each.recipe == recipe]
        if any(each.title not in milliseconds["eager"] for each in parts):
            continue
        eager = sum(milliseconds["eager"][each.title] * each.steps for each in parts) / batch / 1e3
        best = sum(
            milliseconds["compiled"].get(each.title, milliseconds["eager"][each.title]) * each.steps for each in parts
        )
        compiled = [each.size for each in parts if each.title in milliseconds["compiled"]]
        found[recipe] = {
            "eager": round(eager, 4),
            "best": round(best / batch / 1e3, 4),
            "compiled_at_px": compiled,
        }
    return found


if __name__ == "__main__":
    run_part(measure)
