"""Small numerical functions: seeds, learning rate schedules and number formats."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from several integers. Neighbouring integers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device, *parts: int) -> torch.Generator:
    """A random generator on ``device``, seeded by :func:`derive_seed` of ``parts``."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32, for sums and logarithms; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def lr_factor(step: int, total: int, *, warmup: int = 0, cosine: bool = True) -> float:
    """Factor of the learning rate at a step, 0 to 1.

    A linear warm-up over ``warmup`` steps, then a cosine that falls to 0 at step ``total``, or a constant 1.
    """
    warmup = min(warmup, total)
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def autocast(x: Tensor) -> torch.autocast:
    """bfloat16 for a network's forward pass on CUDA, by the device of its input; losses are computed outside of it."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda")
