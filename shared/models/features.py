"""What a network makes of images: its BatchNorm layers' input, the features before its classifier, its logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batchnorm_layers(network: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep running statistics, in the order of definition (timm's subclasses too)."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None and layer.running_var is not None]


def classifier(network: nn.Module) -> nn.Linear | None:
    """The last linear layer, whose input are the features of an image; None if there is none."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """features: what the classifier, the last linear layer, gets, (N, D); without one, the logits. logits: (N, K).
    statistics_distance: R_feature of all the images together, 0 or more; None of a network without BatchNorm, or
    where nobody asked.

    Both tensors are float32 and on the CPU.
    """

    features: Tensor
    logits: Tensor
    statistics_distance: float | None


class FeatureCollector:
    """Shows a network a set of images, batch by batch, and keeps what it saw. A context: on leaving, the hooks go.

    R_feature is the sum over layers of ``||mean - running_mean||_2 + ||var - running_var||_2`` (Yin et al. 2020, eq.
    4), its moments taken over all images: batches may differ from one another where the set does not.

    Args:
        network: in eval mode.
        statistics: measure R_feature, which is half of the work of a large network.
    """

    def __init__(self, network: nn.Module, *, statistics: bool = True) -> None:
        self.network = network
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []
        layers = batchnorm_layers(network) if statistics else []
        self._moments = [_Moments(layer) for layer in layers]
        self._hooks = [layer.register_forward_pre_hook(m) for layer, m in zip(layers, self._moments, strict=True)]
        last = classifier(network)
        if last is not None:
            self._hooks.append(last.register_forward_pre_hook(self._keep))

    def __enter__(self) -> FeatureCollector:
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def show(self, x_NCHW: Tensor) -> None:
        """One batch, normalised, on the network's device."""
        self._logits.append(self.network(x_NCHW).float().cpu())

    def seen(self) -> Features:
        logits_NK = torch.cat(self._logits)
        return Features(
            features=torch.cat(self._features) if self._features else logits_NK,
            logits=logits_NK,
            statistics_distance=sum(m.distance() for m in self._moments) if self._moments else None,
        )

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features.append(inputs[0].flatten(1).float().cpu())


class _Moments:
    """A hook that adds up a BatchNorm layer's input, about the running mean."""

    def __init__(self, layer: _BatchNorm) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.mean_C, self.var_C = layer.running_mean.double(), layer.running_var.double()
        self.sum_C, self.squares_C, self.count = torch.zeros_like(self.mean_C), torch.zeros_like(self.mean_C), 0

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        # An image's sums in the network's own format: quick, and exact enough near zero. All images' in float64.
        off_NCM = (x.flatten(2) if x.ndim > 2 else x[:, :, None]) - self.mean_C.to(x.dtype)[:, None]
        self.sum_C += off_NCM.sum(2).double().sum(0)
        self.squares_C += (off_NCM * off_NCM).sum(2).double().sum(0)
        self.count += off_NCM.shape[0] * off_NCM.shape[2]

    def distance(self) -> float:
        off_C = self.sum_C / self.count
        var_C = self.squares_C / self.count - off_C * off_C
        return float(torch.linalg.vector_norm(off_C) + torch.linalg.vector_norm(var_C - self.var_C))
