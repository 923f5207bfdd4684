"""A network that also returns what its head reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WithFeatures(nn.Module):
    """Returns logits (N, J), features (N, D), and the logits of the features without their gradient, (N, J).

    Args:
        head: name of a linear layer whose outputs are the logits and whose inputs are the features. It gets a hook,
            which :meth:`release` removes.
    """

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network = network
        self._head = head
        self._features: list[Tensor] = []
        self._hook = network.get_submodule(head).register_forward_pre_hook(self._keep)

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._features.clear()
        logits_NJ = self.network(x_NCHW)
        (features_ND,) = self._features
        self._features.clear()
        layer = self.network.get_submodule(self._head)
        assert isinstance(layer, nn.Linear)
        return logits_NJ, features_ND, F.linear(features_ND.detach(), layer.weight, layer.bias)

    def release(self) -> None:
        self._hook.remove()

    def _keep(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features.append(inputs[0])


@torch.no_grad()
def linear_head(network: nn.Module, names: Sequence[str], example_NCHW: Tensor) -> str | None:
    """The name of a network's head, if that is one linear layer whose outputs are the logits; None if it is not.

    Args:
        names: of the layers of the head.
    """
    if len(names) != 1 or not isinstance(network.get_submodule(names[0]), nn.Linear):
        return None
    tapped = WithFeatures(network, names[0])
    logits_NJ, features, again = tapped(example_NCHW)
    tapped.release()
    same = features.ndim == 2 and torch.allclose(logits_NJ, again, rtol=1e-4, atol=1e-5)
    return names[0] if same else None
