"""Seeds, learning rate schedules and number formats: small functions on numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int) -> int:
    """One 63-bit seed out of several whole numbers, such that neighbours have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device, *parts: int) -> torch.Generator:
    """A random generator on ``device``, seeded by :func:`derive_seed` of ``parts``."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def at_least_float32(x: Tensor) -> Tensor:
    """Half formats widened to float32, for sums and logarithms; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def lr_factor(step: int, total: int, *, warmup: int = 0, cosine: bool = True) -> float:
    """Linear from 0 over ``warmup`` steps, then a cosine down to 0 at ``total`` (or constant): 0 to 1."""
    warmup = min(warmup, total)
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
