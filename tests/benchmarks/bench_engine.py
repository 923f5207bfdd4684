"""A step of the inversion engine compared with the published step and with the bare network, in turn, in one run.

    python tests/benchmarks/bench_engine.py --teacher cifar_resnet20 --batch-size 256 [--device cuda] [--json]

It measures image-steps per second: medians of paired rounds, each of a few whole steps (shift, loss, gradient, Adam):

    published   the step as published, written plainly: contiguous NCHW, gradients of the weights too, a hook that
                copies the input of every BatchNorm layer, and a loss that the host reads at each step
    eager, compiled     our engine
    folded      like compiled, but BatchNorm is folded into the convolutions and the statistics are matched at their
                output
    bare        the network alone, compiled: forward pass and gradient to the images. No step can be faster.

Peak memory is what a round allocates in addition to what was allocated before it, in MiB. On CUDA it is measured
before the timed rounds, and includes what the first rounds keep: a CUDA graph keeps the memory that it works in.
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
FORMS = ("published", "eager", "compiled", "folded", "bare")
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
    """Memory that one round needs in addition to what is allocated before it. On CUDA, call it before other rounds."""
    gc.collect()
    if device.type == "cuda":
        kept = _reserved_bytes()
        for _ in range(2):  # compiles, then captures a CUDA graph
            work()
        kept = _reserved_bytes() - kept
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (kept + torch.cuda.max_memory_allocated() - before) / MIB
    _give_back_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel records
    before = _status_kib("VmRSS")
    work()
    return (_status_kib("VmHWM") - before) / 1024


def _reserved_bytes() -> int:
    """GPU memory that torch cannot give back: what is allocated, and the pools of CUDA graphs."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


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
    teacher.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    changes = {"steps": (arguments.steps,), "alpha_compete": 0.0, "scales": (1.0,)}
    recipe = RECIPES["cifar10-deepinversion"].changed(changes)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    x = torch.randn(*teacher.preprocessing.blank(arguments.batch_size).shape, device=device)
    log: list[str] = []  # how long compiling took, or that it failed

    def work(form: str) -> Round:
        if form == "published":
            return published_step(teacher, recipe, x)
        if form == "bare":
            return bare_round(teacher, recipe, x, precision=precision)
        execution = Execution(compile=form == "compiled", precision=precision)
        engine = Engine(teacher, recipe, execution=execution, log=log.append)
        if form == "folded":
            folded, _ = folded_objective(recipe, teacher.network, precision)
            engine.step = compiled(folded, device, log.append)
        return engine_round(engine, len(x))

    works = {form: work(form) for form in arguments.forms}
    peaks = {form: peak_mib(each, device) for form, each in works.items()} if device.type == "cuda" else {}
    seconds = dict(
        zip(works, paired_rounds([*works.values()], device=device, rounds=arguments.rounds).T.tolist(), strict=True)
    )
    image_steps = arguments.batch_size * arguments.steps
    rates = {name: image_steps / statistics.median(values) for name, values in seconds.items()}
    result: dict[str, Any] = {name: round(rate, 1) for name, rate in rates.items()}
    for name, above, below in (
        ("speedup_vs_published", "published", "compiled"),
        ("over_bare", "compiled", "bare"),
        ("folded_over_compiled", "folded", "compiled"),
    ):
        if above in seconds and below in seconds:
            ratios = (a / b for a, b in zip(seconds[above], seconds[below], strict=True))
            result[name] = round(statistics.median(ratios), 3)
    peaks = peaks or {form: peak_mib(each, device) for form, each in works.items()}
    result["peak_mib"] = {form: round(peak, 1) for form, peak in peaks.items()}
    if device.type == "cuda":
        flops = 4 * count_macs(teacher.network, teacher.preprocessing.blank(1, device))  # forward and input gradient
        product = matmul_tflops(device)
        result["matmul_tflops"] = round(product, 1)
        result["tflops"] = {form: round(rate * flops / 1e12, 1) for form, rate in rates.items()}
        result["share_of_matmul"] = {form: round(rate * flops / 1e12 / product, 3) for form, rate in rates.items()}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {arguments.threads} threads"
    return {**result, "log": log, "device": name}


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The benchmark's options, from these arguments or from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--forms", type=lambda text: text.split(","), default=list(FORMS), help="names with commas")
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = options()
    result = benchmark(arguments)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
