"""The layout of images and weights in memory: channels last, which is faster, unless a network refuses it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def common_layout(networks: Iterable[nn.Module], example_NCHW: Tensor) -> torch.memory_format:
    """``torch.channels_last`` if all the networks work with it, else ``torch.contiguous_format``.

    A network refuses it if it calls ``view`` on a feature map, whose numbers then lie in another order.

    Args:
        networks: on the example's device; left as they are.
        example_NCHW: any network input.
    """
    works = all(_takes_channels_last(network, example_NCHW) for network in networks)
    return torch.channels_last if works else torch.contiguous_format


@torch.no_grad()
def _takes_channels_last(network: nn.Module, example_NCHW: Tensor) -> bool:
    tried = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Two images: the layouts of one may be the same.
    x_NCHW = example_NCHW[:1].expand(2, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    try:
        tried(x_NCHW)
    except RuntimeError:
        return False
    return True
