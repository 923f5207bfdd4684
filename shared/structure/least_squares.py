"""Repair by least squares: each layer of a cut network is fitted to what the whole network computes, in one pass.

A layer that has lost inputs gets the weights that come closest to its old outputs from the inputs that are left (He et
al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks"). There is no training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..models.dropped import is_part
from .hooked import Hooked
from .linear_fit import HEAD_RIDGE, RIDGE, fitted_tensors, slope, solve
from .observation import Observation, is_fitted
from .samples import computed_of, patches


@torch.no_grad()
def fit_layers(
    network: nn.Module, whole: Observation, kept: Mapping[str, Sequence[int]], dropped: Collection[str] = ()
) -> dict[str, float]:
    """Fit the convolutions and linear layers of a cut network to the whole one, in place.

    In the order of execution, with P the patches of the cut network's own inputs and Y the whole network's outputs for
    the channels that are kept, both centred::

        W = (P'P + r I)^-1 (P'Y + r W_0),    r = RIDGE * mean diagonal of P'P

    What is left of the mean goes into the bias, or is taken off the mean of the BatchNorm that follows. All else of the
    BatchNorms stays as it is.

    At the end of a residual block, and of what feeds one, the last layer is fitted once more, so that the sum comes
    close to the whole network's: else what a layer misses would add up along the stream. Ahead of blocks that were
    dropped, the sum behind them is what counts.

    Args:
        network: on the device of the observation. It is put in eval mode.
        whole: :func:`~.observation.observe` of the network before anything was removed.
        kept: layer -> its outputs that are left, as they were numbered there; layers without an entry have all.
        dropped: names of the blocks that the network lacks.

    Returns:
        Layer -> the share of the variance of its target that it misses, 0 to 1.
    """
    fit = _Fit(network.eval(), whole, kept, dropped)
    fit.run(whole.x_NCHW)
    return fit.missed


class _Fit(Hooked):
    """The fit of one layer after the other, each just before it runs."""

    def __init__(
        self, network: nn.Module, whole: Observation, kept: Mapping[str, Sequence[int]], dropped: Collection[str]
    ) -> None:
        super().__init__(network)
        self.whole, self.kept, self.dropped = whole, kept, dropped
        self.missed: dict[str, float] = {}
        self._paused = False
        self._fitted: tuple[str, Tensor | None] = "", None  # the last layer, and the columns that it was fitted on
        self._last = [name for name, module in self.modules.items() if isinstance(module, nn.Linear)][-1:]
        blocks = {*whole.behind, *whole.behind.values()}
        for name, module in self.modules.items():
            if is_fitted(module) and name in whole.outputs:
                self.before(name, self._fit)
            elif name in blocks and name not in dropped and any(map(is_fitted, module.modules())):
                self.after(name, self._correct)

    def _fit(self, name: str, module: nn.Module, inputs: Any) -> None:
        if self._paused or not inputs:
            return
        self._fitted = name, None
        x = inputs[0]
        before = self.whole.samples.of(module, module.forward(x))
        target = self._target(name, name, before)
        columns = None
        if target is not None:
            columns = patches(module, x, self.whole.samples, before)
        if target is None or columns is None:
            return
        self._fitted = name, columns
        norm = self._norm(name)
        mean_C = None if norm is None else norm.running_mean
        if isinstance(mean_C, Tensor):  # an earlier fit may have moved it
            whole_C = self.whole.means[name]
            mean_C.copy_(whole_C[list(self.kept[name])] if name in self.kept else whole_C)
        if not torch.allclose(before, target, atol=1e-5, rtol=1e-4):  # else nothing ahead of it was cut
            ridge = HEAD_RIDGE if name in self._last else RIDGE
            self.missed[name] = solve(module, columns, target.flatten(0, -2), ridge=ridge, norm=norm)

    def _correct(self, name: str, module: nn.Module, inputs: Any, out: Tensor) -> Tensor | None:
        """Fit the last layer of a block to what the sum of the block lacks. Returns the new sum, if it is closer."""
        layer_name, columns = self._fitted
        if self._paused or columns is None or not is_part(layer_name, [name]):
            return None
        samples = self.whole.samples
        layer, norm = self.modules[layer_name], self._norm(layer_name)
        found = samples.of(module, out)
        target = self._target(self._end(name), layer_name, found)
        if target is None or torch.allclose(found, target, atol=1e-5, rtol=1e-4):
            return None
        computed = computed_of(layer, columns)
        if computed.shape != (len(found) * found.shape[1], found.shape[2]):
            return None  # the last layer to run is not what is added: the gate of squeeze-and-excitation, say
        wanted = computed + ((target - found) / slope(norm)).flatten(0, -2)
        saved = [each.clone() for each in fitted_tensors(layer, norm)]
        solve(layer, columns, wanted, ridge=RIDGE, norm=norm)
        self._paused = True
        corrected: Tensor = module.forward(*inputs)
        self._paused = False
        if (samples.of(module, corrected) - target).square().sum() < (found - target).square().sum():
            return corrected
        for tensor, value in zip(fitted_tensors(layer, norm), saved, strict=True):
            tensor.copy_(value)
        return None

    def _end(self, module: str) -> str:
        """The last one of the dropped blocks directly behind a module; the module itself if there are none."""
        while (behind := self.whole.behind.get(module)) in self.dropped:
            assert behind is not None
            module = behind
        return module

    def _target(self, name: str, layer: str, like: Tensor) -> Tensor | None:
        """The whole network's output of a module, for the channels that a layer kept; None if shapes differ."""
        target = self.whole.outputs[name]
        if layer in self.kept:
            if max(self.kept[layer]) >= target.shape[-1]:
                return None
            target = target[..., list(self.kept[layer])]
        return target if target.shape == like.shape else None

    def _norm(self, layer: str) -> nn.Module | None:
        norm = self.whole.norms.get(layer)
        return None if norm is None else self.modules.get(norm)
