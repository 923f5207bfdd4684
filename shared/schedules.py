"""Learning rate schedules, as a factor on the highest rate."""

from __future__ import annotations

import math


def lr_factor(step: int, total: int, *, warmup: int = 0, cosine: bool = True) -> float:
    """Linear from 0 over ``warmup`` steps, then a cosine down to 0 at ``total`` (or constant): 0 to 1."""
    warmup = min(warmup, total)
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
