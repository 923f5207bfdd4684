"""Networks with random weights whose BatchNorms differ between channels, as after a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dreamdistill.shared.models.features import batchnorm_layers
from dreamdistill.shared.models.networks import NETWORKS


def with_random_statistics(network: nn.Module, seed: int) -> nn.Module:
    """The network with other statistics and affine parts, in eval mode and frozen."""
    generator = torch.Generator().manual_seed(seed)
    for layer in batchnorm_layers(network):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.normal_(0, 0.3, generator=generator)
        layer.running_var.uniform_(0.5, 2, generator=generator)
        layer.weight.data.uniform_(0.5, 1.5, generator=generator)
        layer.bias.data.normal_(0, 0.3, generator=generator)
    return network.eval().requires_grad_(False)


def resnet20_of(x_NCHW: Tensor) -> nn.Module:
    """A ResNet-20 with the statistics of these images in its BatchNorms, in eval mode and frozen."""
    torch.manual_seed(0)
    network = NETWORKS["cifar_resnet20"].build(num_classes=10, in_channels=3)
    for layer in batchnorm_layers(network):
        layer.momentum = None
        nn.init.uniform_(layer.weight, 0.5, 1.5)
    with torch.no_grad():
        network.train()(x_NCHW)
    return network.eval().requires_grad_(False)
