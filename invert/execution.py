"""How a step is run: compiled or not, and in which number format. This changes its cost, not what it computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..shared.models.classifier import Classifier
from ..shared.models.compiling import REPAID_FROM_MACS, Compiler, Log
from ..shared.shards.manifest import Execution
from .objective import Objective
from .recipe import Recipe

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]

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
    """The objective through ``torch.compile``, at each resolution (:class:`~..shared.models.compiling.Compiler`)."""
    fast = Compiler(device=device, log=log)(objective.__call__, "the step")

    def step(x: Tensor, view: Tensor, targets_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        return fast(x, view, targets_N)

    return step
