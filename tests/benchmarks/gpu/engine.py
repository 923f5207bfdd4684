"""GPU day, part a: the step of the inversion engine in five forms (``bench_engine.py``), with random weights.

The published step, eager, compiled and bare are measured first, for both networks. The folded form, which compiles once
more, follows if there is time: against the compiled one, in the same rounds.
"""

from __future__ import annotations

from typing import Any

import torch
from bench_engine import benchmark, options
from gpu.part import Run, count_host_syncs, run_part

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.manifest import Execution

CASES = {"ResNet-50, 224 px": ("resnet50", 84), "ResNet-34, 32 px": ("cifar_resnet34", 256)}
TINY = {"digits CNN, 8 px": ("digits_cnn", 8)}
FIRST, THEN = "published,eager,compiled,bare", "compiled,folded"
COMPILING = 75  # seconds that another form may take to compile (ResNet-50 on an H100: 63)


def measure(run: Run) -> None:
    engine: dict[str, Any] = {}
    cases = TINY if run.rehearse else CASES
    for forms in (FIRST, THEN):
        for title, (teacher, batch_size) in cases.items():
            if not run.rehearse and run.left() < COMPILING:
                engine.setdefault(title, {})["left_out"] = f"no time for {forms}"
                run.write(engine=engine)
                continue
            torch.compiler.reset()  # the compiler refuses a ninth form of one function
            found = one(run, teacher, batch_size, forms)
            engine.setdefault(title, {}).update(found)
            run.write(*([summary(title, found)] if forms == FIRST else []), engine=engine)


def one(run: Run, teacher: str, batch_size: int, forms: str) -> dict[str, Any]:
    """One run of the benchmark, with the host syncs of one eager batch."""
    size = ["--steps", "1", "--rounds", "1"] if run.rehearse else ["--steps", "10", "--rounds", "5"]
    case = ["--teacher", teacher, "--weights", "none", "--batch-size", str(batch_size), "--forms", forms]
    found = benchmark(options([*case, *size, "--device", run.device.type]))
    if forms == THEN:
        return {"folded_form": found, "folded_over_compiled": found["folded_over_compiled"]}
    found["host_syncs_of_10_steps"] = host_syncs(run, teacher, batch_size)
    return {"batch_size": batch_size, **found}


def host_syncs(run: Run, teacher: str, batch_size: int) -> dict[str, int]:
    """Operations that wait for the GPU in one batch of 10 eager steps. Reading the losses at its end is one."""
    recipe = RECIPES["natural"].changed({"steps": (1 if run.rehearse else 10,), "alpha_compete": 0.0})
    classifier = load_model(teacher, weights="none", device=run.device)
    engine = Engine(classifier, recipe, execution=Execution(compile=False, precision="float32"))
    with count_host_syncs(run.device) as places:
        engine.synthesize(torch.arange(batch_size) % classifier.num_classes, seed=0)
    return dict(places.most_common(12))


def summary(title: str, found: dict[str, Any]) -> str:
    text = f"{title}: {found['compiled']} image-steps/s, {found['speedup_vs_published']} x published, "
    text += f"{found['over_bare']} x the time of bare"
    if "tflops" in found:
        text += f", {found['tflops']['compiled']} TFLOP/s, {100 * found['share_of_matmul']['compiled']:.0f} % of matmul"
    return text


if __name__ == "__main__":
    run_part(measure)
