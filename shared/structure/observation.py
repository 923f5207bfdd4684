"""What a whole network computes at random positions of its maps, as the target of a fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.channels import can_be_narrowed
from .hooked import Hooked
from .samples import ROWS, Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a whole network computes.

    Attributes:
        x_NCHW: network input.
        samples: the positions.
        outputs: of layers, of blocks and of what feeds a block: (images, positions, channels) each.
        norms: layer -> the BatchNorm that reads its output.
        means: layer -> the running mean of that.
        behind: module -> the block that reads its output.
    """

    x_NCHW: Tensor
    samples: Samples
    outputs: Mapping[str, Tensor]
    norms: Mapping[str, str]
    means: Mapping[str, Tensor]
    behind: Mapping[str, str]


@torch.no_grad()
def observe(
    whole: nn.Module, x_NCHW: Tensor, *, blocks: Collection[str] = (), rows: int = ROWS, seed: int = 0
) -> Observation:
    """What a network computes before anything is removed from it, at random positions of its maps.

    Args:
        whole: the network, in eval mode.
        x_NCHW: network input; all images are in memory at once.
        blocks: names of its residual blocks.
        rows: samples of each layer at least, where the maps have as many positions.
        seed: of the positions.
    """
    observer = _Observer(whole, blocks, Samples(rows, seed))
    observer.run(x_NCHW)
    for name in observer.several():
        observer.outputs.pop(name, None)  # of a layer that runs more than once, each output has another target
    return Observation(
        x_NCHW=x_NCHW,
        samples=observer.samples,
        outputs=observer.outputs,
        norms=observer.norms,
        means=observer.means,
        behind=observer.behind,
    )


def is_fitted(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear)) and can_be_narrowed(module)


class _Observer(Hooked):
    def __init__(self, network: nn.Module, blocks: Collection[str], samples: Samples) -> None:
        super().__init__(network)
        self.samples = samples
        self.outputs: dict[str, Tensor] = {}
        self.norms: dict[str, str] = {}
        self.means: dict[str, Tensor] = {}
        self.behind: dict[str, str] = {}
        self._blocks = blocks
        self._calls: Counter[str] = Counter()
        self._layer: tuple[str, Tensor] = "", torch.empty(0)  # the last one, and its output
        self._source: tuple[str, Tensor] = "", torch.empty(0)  # the innermost module of the last output
        for name in self.modules:
            if name:
                self.after(name, self._look)
            if name in blocks:
                self.before(name, self._enter)

    def several(self) -> list[str]:
        """Names of the modules that ran more than once."""
        return [name for name, count in self._calls.items() if count > 1]

    def _enter(self, block: str, module: nn.Module, inputs: Any) -> None:
        source, out = self._source
        if inputs and inputs[0] is out:
            self.behind[source] = block
            self.outputs.setdefault(source, self.samples.of(self.modules[source], out))

    def _look(self, name: str, module: nn.Module, inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or not inputs:
            return
        self._calls[name] += 1
        if is_fitted(module):
            self._layer = name, out
        elif isinstance(module, _BatchNorm) and inputs[0] is self._layer[1]:
            self.norms[self._layer[0]] = name
            if module.running_mean is not None:
                self.means[self._layer[0]] = module.running_mean.clone()
        if is_fitted(module) or name in self._blocks:
            self.outputs[name] = self.samples.of(module, out)
        if out is not self._source[1]:
            self._source = name, out
