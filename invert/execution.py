"""How a step is run: compiled or not, and in which number format. This changes its cost, not what it computes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ..shared.core.errors import one_line
from ..shared.models.classifier import Classifier
from ..shared.models.cost import count_macs, paired_seconds
from ..shared.models.layout import common_layout
from ..shared.shards.manifest import Execution
from .objective import Objective
from .recipe import Recipe

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
Log = Callable[[str], None]

# Compiling takes 20 to 60 seconds and saves about half of an eager step, so it pays from two minutes of eager work on.
# In multiply-adds of forward passes: a CPU core does 15e9 per second (measured, docs/performance.md), and a GPU 2e12
# (estimated).
REPAID_FROM_MACS = {"cpu": 120 * 15e9, "cuda": 120 * 2e12}
PROBE_IMAGES = 4
FASTER = 1.2  # speedup from which bfloat16 is used on the CPU: it costs precision


EAGER = Execution(compile=False, precision="float32")


def choose_execution(
    *, compile: str, precision: str, teacher: Classifier, recipe: Recipe, images: int, device: torch.device
) -> Execution:
    """Replace ``auto`` by a choice.

    Whether to compile depends on the amount of work only, not on a clock, so that the same run in another folder does
    the same. bfloat16 is used on CUDA. It is also used in long runs on CPUs that calculate in it, if a few steps are
    faster by more than a fifth.
    """
    long = _macs(teacher, recipe, images) >= REPAID_FROM_MACS[device.type]
    if precision == "auto":
        faster = device.type == "cuda" or (long and _bfloat16_pays(teacher, recipe))
        precision = "bfloat16" if faster else "float32"
    return Execution(compile=long if compile == "auto" else compile == "on", precision=precision)


def _macs(teacher: Classifier, recipe: Recipe, images: int) -> float:
    """Multiply-adds of all forward passes of a run."""
    full = teacher.preprocessing.image_size
    device = next(teacher.network.parameters()).device
    one = count_macs(teacher.network, teacher.preprocessing.blank(1, device))
    return images * one * sum(r.steps * (r.size / full) ** 2 for r in recipe.resolutions(full))


def _bfloat16_pays(teacher: Classifier, recipe: Recipe) -> bool:
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return False
    x = teacher.preprocessing.blank(PROBE_IMAGES)
    x = x.contiguous(memory_format=common_layout([teacher.network], x))
    x.requires_grad_()
    targets_N = torch.zeros(len(x), dtype=torch.int64)

    def step(precision: str) -> Callable[[], None]:
        objective = Objective(recipe, teacher.network, precision=precision)
        return lambda: objective(x, x, targets_N)[0].backward()

    single, half = paired_seconds([step("float32"), step("bfloat16")], device=x.device, rounds=5)
    return single / half > FASTER


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
