"""The teacher of a training: what it says of the images that the student sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.core.numerics import at_least_float32, autocast
from ..shared.models.compiling import Compiler
from ..shared.structure.folding import fold_batchnorms
from .features import FeatureMap, Taps


class Labeller:
    """A frozen teacher, asked for soft labels and for its feature maps.

    Args:
        teacher: in eval mode, and left as it is: a copy runs, its BatchNorms folded into its convolutions.
        wanted: the feature maps to keep.
        temperature: of the soft labels.
        example_NCHW: any network input, on the teacher's device.
        compiler: None runs the network eager.
    """

    def __init__(
        self,
        teacher: nn.Module,
        wanted: Sequence[FeatureMap],
        *,
        temperature: float,
        example_NCHW: Tensor,
        compiler: Compiler | None = None,
    ) -> None:
        self.network = fold_batchnorms(teacher, example_NCHW, seen={each.module for each in wanted})
        self.temperature = temperature
        self._taps = Taps(self.network, wanted)
        self._answers = self._answer if compiler is None else compiler(self._answer, "the teacher")

    @torch.no_grad()
    def __call__(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """Soft labels (N, K); the mean square of each wanted feature map, (P,); and the maps, (N, C, side, side)."""
        return self._answers(x_NCHW)

    @torch.no_grad()
    def features(self, x_NCHW: Tensor) -> list[Tensor]:
        """The wanted feature maps, of any number of images; never compiled."""
        with autocast(x_NCHW):
            return self._taps.forward(self.network, x_NCHW)[1]

    def _answer(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        with autocast(x_NCHW):
            logits_NK, maps = self._taps.forward(self.network, x_NCHW)
        soft_labels_NK = soften(logits_NK, self.temperature)
        squares = [at_least_float32(each).square().mean() for each in maps]
        return soft_labels_NK, torch.stack(squares) if squares else soft_labels_NK.new_zeros(0), *maps


def soften(logits_NK: Tensor, temperature: float) -> Tensor:
    """Softmax at a temperature, (N, K), float32 or better."""
    return F.softmax(at_least_float32(logits_NK) / temperature, dim=1)
