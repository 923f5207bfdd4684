"""Features of a network for a set of images: input of its last linear layer, logits, and BatchNorm statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batchnorm_layers(network: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that have running statistics, in the order of definition (timm's subclasses included)."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None and layer.running_var is not None]


def last_linear(network: nn.Module) -> nn.Linear | None:
    """The last linear layer, whose input is the feature vector of an image; None if the network has no linear layer."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a network computes for N images. Both tensors are float32 and on the CPU.

    Attributes:
        features: input of the last linear layer, (N, D); the logits if the network has no linear layer.
        logits: (N, K).
        statistics_distance: R_feature over all images together, 0 or more; None if the network has no BatchNorm, or if
            it was not measured.
    """

    features: Tensor
    logits: Tensor
    statistics_distance: float | None


class FeatureCollector:
    """Runs a network on a set of images, batch by batch, and collects the results. A context manager, which removes its
    hooks from the network at the end.

    R_feature is the sum over layers of ``||mean - running_mean||_2 + ||var - running_var||_2`` (Yin et al. 2020, eq.
    4). Mean and variance are taken over all images, because single batches can differ where the whole set does not.

    Args:
        network: in eval mode.
        statistics: whether to measure R_feature, which takes half of the time for a large network.
    """

    def __init__(self, network: nn.Module, *, statistics: bool = True) -> None:
        self.network = network
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []
        layers = batchnorm_layers(network) if statistics else []
        self._moments = [_Moments(layer) for layer in layers]
        self._hooks = [layer.register_forward_pre_hook(m) for layer, m in zip(layers, self._moments, strict=True)]
        last = last_linear(network)
        if last is not None:
            self._hooks.append(last.register_forward_pre_hook(self._collect))

    def __enter__(self) -> FeatureCollector:
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def add(self, x_NCHW: Tensor) -> None:
        """Run the network on one more batch: normalised images on the network's device."""
        self._logits.append(self.network(x_NCHW).float().cpu())

    def features(self) -> Features:
        """The features of all images that were added, in their order."""
        logits_NK = torch.cat(self._logits)
        return Features(
            features=torch.cat(self._features) if self._features else logits_NK,
            logits=logits_NK,
            statistics_distance=sum(m.distance() for m in self._moments) if self._moments else None,
        )

    def _collect(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features.append(inputs[0].flatten(1).float().cpu())


class _Moments:
    """A hook that sums up the first two moments of a BatchNorm layer's input about its running mean."""

    def __init__(self, layer: _BatchNorm) -> None:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.mean_C, self.var_C = layer.running_mean.double(), layer.running_var.double()
        self.sum_C, self.squares_C, self.count = torch.zeros_like(self.mean_C), torch.zeros_like(self.mean_C), 0

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        # Sums within an image use the network's own number format: it is fast, and precise enough near zero. Sums over
        # images use float64.
        centred_NCM = (x.flatten(2) if x.ndim > 2 else x[:, :, None]) - self.mean_C.to(x.dtype)[:, None]
        self.sum_C += centred_NCM.sum(2).double().sum(0)
        self.squares_C += (centred_NCM * centred_NCM).sum(2).double().sum(0)
        self.count += centred_NCM.shape[0] * centred_NCM.shape[2]

    def distance(self) -> float:
        """This layer's term of R_feature."""
        shift_C = self.sum_C / self.count  # mean - running_mean
        var_C = self.squares_C / self.count - shift_C * shift_C
        return float(torch.linalg.vector_norm(shift_C) + torch.linalg.vector_norm(var_C - self.var_C))
