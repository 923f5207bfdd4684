"""The cost of what a cut leaves, foretold from shapes, is the cost of the network that was cut."""

from __future__ import annotations

import random

import pytest
import torch
from networks import calibrated

from dreamdistill.prune.costs import NetworkCost
from dreamdistill.prune.units import COUNTED
from dreamdistill.shared.models.cost import count_macs, num_filters, num_parameters
from dreamdistill.shared.structure.blocks import find_blocks
from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.groups import find_groups


# Depthwise and grouped convolutions, squeeze and excitation, a flattened map, attention.
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_x_400mf", "vgg11_bn", "timm/efficientvit_b0"])
def test_the_cost_of_a_cut_is_foretold(name: str) -> None:
    network = calibrated(name).requires_grad_(False)
    x_NCHW = torch.randn(1, 3, 64, 64)
    groups, blocks = find_groups(network, x_NCHW), [block.name for block in find_blocks(network, x_NCHW)][::2]
    draw = random.Random(0)
    removed = {g.name: draw.sample(range(g.num_channels), g.num_channels // 3) for g in groups}
    smaller = CutNetwork.of(network).without(groups, removed, blocks).network
    sizes = {"ratio": num_filters, "macs": lambda each: count_macs(each, x_NCHW), "params": num_parameters}
    for option, size in sizes.items():
        cost = NetworkCost.of(COUNTED[option], network, x_NCHW)
        assert cost.total == size(network)
        assert cost.left(groups, removed, blocks) == size(smaller)
        assert cost.saved(groups, removed, blocks) == size(network) - size(smaller)
