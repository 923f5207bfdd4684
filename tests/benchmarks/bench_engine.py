"""A step of the inversion engine compared with the published step and with the bare network, in turn, in one run.

    python tests/benchmarks/bench_engine.py --teacher cifar_resnet20 --batch-size 256 [--device cpu] [--json]

It measures image-steps per second: medians of paired rounds, each of a few whole steps (shift, loss, gradient, Adam):

    published   the step as published, written plainly: contiguous NCHW, gradients of the weights too, a hook that
                copies the input of every BatchNorm layer, and a loss that the host reads at each step
    eager, compiled     our engine
    folded      like compiled, but BatchNorm is folded into the convolutions and the statistics are matched at their
                output
    bare        the network alone, compiled: forward pass and gradient to the images. No step can be faster.

Peak memory is what a round allocates in addition to what was allocated before it, in MiB.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from folded import folded_objective
from published import published_step
from torch import Tensor

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.execution import compiled
from dreamdistill.invert.recipe import RECIPES, Recipe
from dreamdistill.shared.core.device import cpu_count
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.models.cost import count_macs, paired_rounds, paired_seconds
from dreamdistill.shared.shards.manifest import Execution

MIB = 2**20
Round = Callable[[], None]


def engine_round(engine: Engine, batch_size: int) -> Round:
    targets_N = torch.arange(batch_size) % engine.teacher.num_classes
    return lambda: engine.synthesize(targets_N, seed=0) and None


def bare_round(teacher: Classifier, recipe: Recipe, x: Tensor, *, precision: str) -> Round:
    """Forward and backward of the network, ``recipe.steps`` times."""
    device = x.device
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    network = torch.compile(
        teacher.network, fullgraph=True, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None
    )
    gradient_NK = torch.randn(len(x), teacher.num_classes, device=device)

    def run() -> None:
        for _ in range(recipe.steps[0]):
            if device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits_NK = network(x)
            torch.autograd.grad(logits_NK, x, gradient_NK.to(logits_NK.dtype))

    return run


def peak_mib(work: Round, device: torch.device) -> float:
    """Memory that one round needs in addition to what is allocated before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    _give_back_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel records
    before = _status_kib("VmRSS")
    work()
    return (_status_kib("VmHWM") - before) / 1024


def _give_back_free_memory() -> None:
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)


def _status_kib(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


def matmul_tflops(device: torch.device, size: int = 8192) -> float:
    """TFLOP/s of one large bfloat16 matrix product on the device."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    (seconds,) = paired_seconds([lambda: a @ b], device=device, rounds=10)
    return 2 * size**3 / seconds / 1e12


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    teacher = load_model(arguments.teacher, weights=arguments.weights, image_size=arguments.image_size, device=device)
    changes = {"steps": (arguments.steps,), "alpha_compete": 0.0, "scales": (1.0,)}
    recipe = RECIPES["cifar10-deepinversion"].changed(changes)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    x = torch.randn(*teacher.preprocessing.blank(arguments.batch_size).shape, device=device)

    engines = {
        name: Engine(teacher, recipe, execution=Execution(compile=compile, precision=precision))
        for name, compile in (("eager", False), ("compiled", True), ("folded", False))
    }
    folded, _ = folded_objective(recipe, teacher.network, precision)
    engines["folded"].step = compiled(folded, device, lambda line: None)
    works = {
        "published": published_step(teacher, recipe, x),
        **{name: engine_round(engine, len(x)) for name, engine in engines.items()},
        "bare": bare_round(teacher, recipe, x, precision=precision),
    }
    seconds = dict(
        zip(works, paired_rounds([*works.values()], device=device, rounds=arguments.rounds).T.tolist(), strict=True)
    )
    image_steps = arguments.batch_size * arguments.steps
    rates = {name: image_steps / statistics.median(values) for name, values in seconds.items()}

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))

    result: dict[str, Any] = {
        **{name: round(rate, 1) for name, rate in rates.items()},
        "speedup_vs_published": round(ratio("published", "compiled"), 3),
        "over_bare": round(ratio("compiled", "bare"), 3),
        "peak_mib": {name: round(peak_mib(work, device), 1) for name, work in works.items()},
    }
    if device.type == "cuda":
        flops = 4 * count_macs(teacher.network, teacher.preprocessing.blank(1, device))  # forward and input gradient
        result["tflops"] = round(rates["compiled"] * flops / 1e12, 1)
        result["share_of_matmul"] = round(result["tflops"] / matmul_tflops(device), 3)
    return {
        **result,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {arguments.threads} threads",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = benchmark(arguments)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
