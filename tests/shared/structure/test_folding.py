"""BatchNorms folded into convolutions: the same function for any network, and none folded that something else needs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from random_networks import with_random_statistics
from torch import Tensor, nn

from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.features import batchnorm_layers
from dreamdistill.shared.structure.folding import fold_batchnorms


def with_statistics(network: nn.Module) -> nn.Module:
    return with_random_statistics(network, seed=0)


@pytest.mark.parametrize(
    ("name", "size", "left"),
    [
        ("digits_cnn", None, 0),
        ("cifar_resnet20", None, 0),
        ("cifar_vgg11_bn", None, 0),
        ("mobilenet_v2", 64, 0),
        ("googlenet", 64, 0),
        ("densenet121", 64, 62),  # 121 BatchNorms; those ahead of their convolutions stay
        ("timm/resnet18", 64, 0),
        ("timm/efficientnet_lite0", 64, 49),  # timm's BatchNorms have activations within them
    ],
)
def test_the_folded_network_computes_the_same(name: str, size: int | None, left: int) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    teacher = load_model(name, weights="none", image_size=size, num_classes=None if size is None else 10)
    network, blank = with_statistics(teacher.network), teacher.preprocessing.blank(2)
    before = copy.deepcopy(network.state_dict())
    folded = fold_batchnorms(network, blank[:1])
    assert len(batchnorm_layers(folded)) == left
    x_NCHW = torch.randn(blank.shape, generator=torch.Generator().manual_seed(1))
    expected = network(x_NCHW)
    torch.testing.assert_close(folded(x_NCHW), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in folded.modules())


class Odd(nn.Module):
    """A convolution and a BatchNorm behind it, used as ``kind`` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, track_running_stats=kind != "statistics of the batch")
        self.second = nn.BatchNorm2d(3)
        self.alias = self.norm

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.kind == "a shortcut":
            return self.norm(y) + y
        if self.kind == "two readers":
            return self.norm(y) + self.second(y)
        if self.kind == "a convolution twice":
            return self.norm(y) + self.conv(x + 1)
        if self.kind == "a BatchNorm twice":
            return self.norm(y) + self.norm(x)
        if self.kind == "a view":
            return self.norm(y.view(y.shape).relu())
        if self.kind == "the output":
            return torch.cat([self.norm(y), y])
        if self.kind == "by another name":
            return self.alias(y)
        return self.norm(y)


def _one_more(_module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
    return out + 1


@pytest.mark.parametrize(
    ("kind", "folds"),
    [
        ("plain", True),
        ("by another name", True),
        ("a shortcut", False),
        ("two readers", False),
        ("a convolution twice", False),
        ("a BatchNorm twice", False),
        ("a view", False),
        ("the output", False),
        ("statistics of the batch", False),
        ("weight norm", False),
        ("a hook", False),
        ("seen by others", False),
    ],
)
def test_a_batchnorm_stays_where_something_else_needs_what_it_reads(kind: str, folds: bool) -> None:
    torch.manual_seed(0)
    network = Odd(kind)
    if kind == "weight norm":
        nn.utils.parametrizations.weight_norm(network.conv)
    if kind == "a hook":
        network.conv.register_forward_hook(_one_more)
    with_statistics(network)
    x_NCHW = torch.randn(4, 3, 6, 6)
    folded = fold_batchnorms(network, x_NCHW[:1], seen=["conv"] if kind == "seen by others" else [])
    torch.testing.assert_close(folded(x_NCHW), network(x_NCHW), rtol=1e-5, atol=1e-5)
    assert isinstance(folded.norm, nn.Identity) == folds
