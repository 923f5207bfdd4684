"""Repair by least squares: each layer of a cut network is fitted to what the whole network computes, in one pass.

A layer that has lost inputs gets the weights that come closest to its old outputs from the inputs that are left (He et
al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks"). There is no training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.channels import can_be_narrowed
from .samples import Samples, computed_of, patches

RIDGE = 1e-3  # weight of the old weights, as a share of the mean square of the inputs
HEAD_RIDGE = 10 * RIDGE  # of the last linear layer, whose targets are the logits


@torch.no_grad()
def fit_layers(
    network: nn.Module,
    whole: nn.Module,
    kept: Mapping[str, Sequence[int]],
    x_NCHW: Tensor,
    *,
    blocks: Sequence[str] = (),
    dropped: Collection[str] = (),
    seed: int = 0,
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
        network: on one device with ``whole``. It is put in eval mode.
        whole: the network before anything was removed, in eval mode.
        kept: layer -> its outputs that are left, as they are numbered in ``whole``; layers without an entry have all.
        x_NCHW: network input; all images are in memory at once.
        blocks: names of the residual blocks of ``whole``.
        dropped: names of those that the network lacks.
        seed: of the positions at which outputs are compared.

    Returns:
        Layer -> the share of the variance of its target that it misses, 0 to 1.
    """
    seen = _Whole(whole, blocks, Samples(len(x_NCHW), seed))
    seen.run(x_NCHW)
    fit = _Fit(network.eval(), seen, kept, dropped)
    fit.run(x_NCHW)
    return fit.missed


def is_fitted(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear)) and can_be_narrowed(module)


class _Hooked:
    """A network whose modules tell a subclass of their inputs and outputs, during one forward pass."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.modules = dict(network.named_modules())
        self._hooks = ExitStack()

    def before(self, name: str, call: Any) -> None:
        self._hooks.callback(self.modules[name].register_forward_pre_hook(partial(call, name)).remove)

    def after(self, name: str, call: Any) -> None:
        self._hooks.callback(self.modules[name].register_forward_hook(partial(call, name)).remove)

    def run(self, x_NCHW: Tensor) -> None:
        with self._hooks:
            self.network(x_NCHW)


class _Whole(_Hooked):
    """What the whole network computes at the sampled positions.

    Attributes:
        outputs: of layers, of blocks and of what feeds a block: (images, positions, channels) each.
        norms: layer -> the BatchNorm that reads its output.
        behind: module -> the block that reads its output.
    """

    def __init__(self, network: nn.Module, blocks: Collection[str], samples: Samples) -> None:
        super().__init__(network)
        self.samples = samples
        self.outputs: dict[str, Tensor] = {}
        self.norms: dict[str, str] = {}
        self.behind: dict[str, str] = {}
        self._blocks = blocks
        self._layer: tuple[str, Tensor] = "", torch.empty(0)  # the last one, and its output
        self._source: tuple[str, Tensor] = "", torch.empty(0)  # the innermost module of the last output
        for name, module in self.modules.items():
            if name:
                self.after(name, self._look)
            if name in blocks:
                self.before(name, self._enter)

    def _enter(self, block: str, module: nn.Module, inputs: Any) -> None:
        source, out = self._source
        if inputs[0] is out:
            self.behind[source] = block
            self.outputs.setdefault(source, self.samples.of(self.modules[source], out))

    def _look(self, name: str, module: nn.Module, inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor):
            return
        if is_fitted(module):
            self._layer = name, out
        elif isinstance(module, _BatchNorm) and inputs[0] is self._layer[1]:
            self.norms[self._layer[0]] = name
        if is_fitted(module) or name in self._blocks:
            self.outputs[name] = self.samples.of(module, out)
        if out is not self._source[1]:
            self._source = name, out


class _Fit(_Hooked):
    """The fit of one layer after the other, each just before it runs."""

    def __init__(
        self, network: nn.Module, whole: _Whole, kept: Mapping[str, Sequence[int]], dropped: Collection[str]
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
        if self._paused:
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
        if not torch.allclose(before, target, atol=1e-5, rtol=1e-4):  # else nothing ahead of it was cut
            ridge = HEAD_RIDGE if name in self._last else RIDGE
            self.missed[name] = solve(module, columns, target.flatten(0, -2), ridge=ridge, norm=self._norm(name))

    def _correct(self, name: str, module: nn.Module, inputs: Any, out: Tensor) -> Tensor | None:
        """Fit the last layer of a block to what the sum of the block lacks. Returns the new sum, if it is closer."""
        layer_name, columns = self._fitted
        if self._paused or columns is None or not layer_name.startswith(f"{name}."):
            return None
        samples = self.whole.samples
        layer, norm = self.modules[layer_name], self._norm(layer_name)
        found = samples.of(module, out)
        target = self._target(self._end(name), layer_name, found)
        if target is None or torch.allclose(found, target, atol=1e-5, rtol=1e-4):
            return None
        computed = computed_of(layer, columns)
        wanted = computed + ((target - found) / _slope(norm)).flatten(0, -2)
        if wanted.shape != computed.shape:
            return None
        saved = [each.clone() for each in _state(layer, norm)]
        solve(layer, columns, wanted, ridge=RIDGE, norm=norm)
        self._paused = True
        corrected: Tensor = module.forward(*inputs)
        self._paused = False
        if (samples.of(module, corrected) - target).square().sum() < (found - target).square().sum():
            return corrected
        for tensor, value in zip(_state(layer, norm), saved, strict=True):
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
        return self.modules.get(self.whole.norms.get(layer, ""))


def _state(layer: nn.Module, norm: nn.Module | None) -> list[Tensor]:
    """The tensors that a fit changes."""
    found = [layer.weight, layer.bias, None if norm is None else norm.running_mean]
    return [each for each in found if isinstance(each, Tensor)]


def _slope(norm: nn.Module | None) -> Tensor | float:
    """The factor of each channel of a BatchNorm, kept away from 0."""
    if norm is None:
        return 1.0
    assert isinstance(norm, _BatchNorm) and norm.running_var is not None
    slope_C = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1.0)
    least = 1e-2 * slope_C.abs().max().clamp_min(1e-12)
    return torch.where(slope_C < 0, slope_C.clamp(max=-least), slope_C.clamp(min=least))


def solve(module: nn.Module, columns: Tensor, target: Tensor, *, ridge: float, norm: nn.Module | None = None) -> float:
    """Fit the weight and bias of one layer, in place. Returns the share of the target's variance that it misses.

    Args:
        columns: (samples, groups, inputs of a group and place of the kernel).
        target: (samples, outputs).
        ridge: see :data:`RIDGE`.
        norm: the BatchNorm that reads the layer; it takes the mean that a layer without bias cannot.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    groups = columns.shape[1]
    p_GSD = columns.transpose(0, 1).double()
    y_GSO = target.double().unflatten(1, (groups, -1)).transpose(0, 1)
    centred = bias is not None or isinstance(norm, _BatchNorm)
    mean_p, mean_y = p_GSD.mean(1, keepdim=True), y_GSO.mean(1, keepdim=True)
    if centred:
        p_GSD, y_GSO = p_GSD - mean_p, y_GSO - mean_y
    old_GDO = weight.double().reshape(groups, -1, p_GSD.shape[2]).transpose(1, 2)
    gram_GDD = p_GSD.transpose(1, 2) @ p_GSD
    amount = ridge * gram_GDD.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)[:, None, None]
    eye = torch.eye(gram_GDD.shape[1], dtype=gram_GDD.dtype, device=gram_GDD.device)
    new_GDO = torch.linalg.solve(gram_GDD + amount * eye, p_GSD.transpose(1, 2) @ y_GSO + amount * old_GDO)
    left = y_GSO - p_GSD @ new_GDO
    weight.copy_(new_GDO.transpose(1, 2).reshape(weight.shape))
    if centred:
        mean_C = (mean_y - mean_p @ new_GDO).flatten()
        if bias is not None:
            bias.copy_(mean_C)
        else:
            assert isinstance(norm, _BatchNorm) and norm.running_mean is not None
            # What the layer computes without the mean that it lacks.
            norm.running_mean -= mean_C.to(norm.running_mean)
    return float(left.square().sum() / y_GSO.square().sum().clamp_min(1e-12))
