"""How a step is run: compiled or not, and in which number format. This changes its cost, not what it computes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ..shared.core.errors import one_line
from ..shared.models.classifier import Classifier
from ..shared.models.cost import MACS_PER_SECOND
from ..shared.shards.manifest import Execution
from .objective import Objective
from .recipe import Recipe

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
Log = Callable[[str], None]

# Compiling takes 20 to 60 seconds and saves about half of an eager step, so it pays from two minutes of eager work on.
REPAID_FROM_MACS = {kind: 120 * rate for kind, rate in MACS_PER_SECOND.items()}  # of forward passes

EAGER = Execution(compile=False, precision="float32")


def choose_execution(
    *, compile: str, precision: str, teacher: Classifier, recipe: Recipe, images: int, device: torch.device
) -> Execution:
    """Replace ``auto`` by a choice.

    Both depend on the amount of work and on the kind of processor, not on a clock, so that the same command makes the
    same images on a machine that is busy. bfloat16 is used on CUDA, and in long runs on CPUs that have matrix units for
    it (AMX): without them it is slower than float32, and it costs precision.
    """
    long = forward_macs(teacher, recipe, images) >= REPAID_FROM_MACS[device.type]
    if precision == "auto":
        faster = device.type == "cuda" or (long and torch.cpu._is_amx_tile_supported())
        precision = "bfloat16" if faster else "float32"
    return Execution(compile=long if compile == "auto" else compile == "on", precision=precision)


def forward_macs(teacher: Classifier, recipe: Recipe, images: int) -> float:
    """Multiply-adds of all forward passes of a run."""
    full = teacher.preprocessing.image_size
    return images * teacher.macs * sum(r.steps * (r.size / full) ** 2 for r in recipe.resolutions(full))


def compiled(objective: Objective, device: torch.device, log: Log) -> Step:
    """The objective through ``torch.compile``: one graph a shape, with CUDA graphs on CUDA.

    The first call for a shape compiles forward and backward pass, and logs how long that took. torch keeps the result
    on disk for other processes (``TORCHINDUCTOR_CACHE_DIR``). If the compiler fails, the step is eager from then on.
    """
    fast = torch.compile(
        objective.__call__, fullgraph=True, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None
    )
    ready: dict[torch.Size, Step] = {}

    def prepare(x: Tensor, view: Tensor, targets_N: Tensor) -> Step:
        started = time.monotonic()
        probe = x.detach().clone().requires_grad_()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from the compiler; a user can do nothing about them
                fast(probe, probe if view is x else view.detach().requires_grad_(), targets_N)[0].backward()
        except Exception as error:
            log(f"torch.compile failed ({one_line(error)}); going on without it, which is slower")
            return objective
        log(f"compiled the step for {tuple(x.shape)} in {time.monotonic() - started:.0f} s")
        return fast

    def step(x: Tensor, view: Tensor, targets_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if x.shape not in ready:
            ready[x.shape] = prepare(x, view, targets_N)
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        return ready[x.shape](x, view, targets_N)

    return step
