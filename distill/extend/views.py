"""Views of batches of synthetic and new images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...shared.shards.batches import Batch
from ..mixing import Mixing
from ..views import Views
from .batches import MixedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayViews(Views):
    """Views in which the synthetic images alone are mixed, with one another and with dead leaves.

    The old network answers for a mixture of what it knows, so these images show it what 512 whole ones do not. Nobody
    answers for a mixture with new images.

    Args:
        answered: whether the criterion asks the old network for its answers to the views; if not, none is mixed.
    """

    answered: bool

    def mixed(self, x_NCHW: Tensor, batch: Batch) -> tuple[Tensor, Mixing | None]:
        """No label has to know of the mixing. A batch that is no :class:`~.batches.MixedBatch` is all synthetic."""
        synthetic = batch.synthetic if isinstance(batch, MixedBatch) else len(batch)
        if not self.answered or synthetic < 2:
            return x_NCHW, None
        mixed_NCHW, _ = self.mix(x_NCHW[:synthetic], leaves=True)
        return torch.cat([mixed_NCHW, x_NCHW[synthetic:]]), None
