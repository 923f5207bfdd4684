"""Real networks, small ones of many families, lose 30 % of their filters. ``tests/benchmarks/networks.py`` has all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import calibrated

from dreamdistill.prune.config import Budget
from dreamdistill.prune.costs import NetworkCost
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.selection import select
from dreamdistill.prune.units import COUNTED
from dreamdistill.shared.models.channels import channel_config
from dreamdistill.shared.models.cost import num_filters
from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.groups import ChannelGroup
from dreamdistill.shared.structure.observation import observe
from dreamdistill.shared.structure.values import Values

SMALL = (
    "mnasnet0_5 mobilenet_v3_small shufflenet_v2_x0_5 squeezenet1_1 timm/convnext_atto timm/efficientvit_b0"
    " timm/ghostnet_050 timm/inception_next_atto timm/lcnet_035 timm/mobilenetv2_035 timm/mobilenetv4_conv_small_050"
    " timm/legacy_seresnet18 timm/regnetx_002 timm/regnety_002 timm/resnest14d timm/resnet10t"
    " timm/seresnet18 timm/tinynet_e"
).split()


@pytest.mark.parametrize("name", SMALL)
def test_a_real_network_is_pruned_and_not_gutted(name: str) -> None:
    network = calibrated(name)
    before, widths = num_filters(network), channel_config(network)
    x_NCHW = torch.randn(2, 3, 64, 64)

    plan = plan_pruning(network, Budget(option="ratio", left=0.7), example_NCHW=x_NCHW[:1])
    groups = plan.groups(network, x_NCHW[:1])
    choice = select(
        groups,
        plan.blocks,
        random_values(groups, plan.blocks),
        NetworkCost.of(COUNTED["ratio"], network, x_NCHW[:1]),
        target=plan.target,
        floors=plan.floors,
    )
    cut = CutNetwork.of(network).without(groups, choice.removed, choice.dropped, example_NCHW=x_NCHW[:1])
    cut.fit(observe(network.eval(), x_NCHW, blocks=plan.blocks, rows=64))
    network = cut.network

    assert 0.6 * before <= num_filters(network) <= 0.7 * before  # a block that goes may save more than is needed
    with torch.no_grad():
        assert network(x_NCHW).isfinite().all()
    for name_of_layer in streams(groups):
        if name_of_layer.startswith(tuple(f"{block}." for block in choice.dropped)):
            continue
        left, whole = channel_config(network)[name_of_layer][0], widths[name_of_layer][0]
        assert left >= 0.35 * whole, f"{name_of_layer} has {left} of {whole} channels"


def streams(groups: list[ChannelGroup]) -> list[str]:
    return [member.layer for group in groups if group.is_stream for member in group.members if member.side == "out"]


def random_values(groups: list[ChannelGroup], blocks: tuple[str, ...]) -> Values:
    draw = np.random.default_rng(0)
    return Values(
        order={group.name: draw.permutation(group.num_channels).tolist() for group in groups},
        channels={g.name: np.concatenate([[0.0], draw.random(g.num_channels).cumsum()]) for g in groups},
        blocks={block: 100 * draw.random() for block in blocks},
    )
