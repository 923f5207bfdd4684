"""Real networks, small ones of many families, lose 30 % of their filters. ``tests/benchmarks/networks.py`` has all."""

from __future__ import annotations

import pytest
import torch
from networks import calibrated

from dreamdistill.prune.budget import FilterCosts
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.selection import choose_channels
from dreamdistill.shared.models.channels import channel_config
from dreamdistill.shared.models.cost import num_filters
from dreamdistill.shared.structure.groups import ChannelGroup
from dreamdistill.shared.structure.surgery import remove_channels

SMALL = (
    "mnasnet0_5 mobilenet_v3_small shufflenet_v2_x0_5 squeezenet1_1 timm/convnext_atto timm/efficientvit_b0"
    " timm/ghostnet_050 timm/inception_next_atto timm/lcnet_035 timm/mobilenetv2_035 timm/mobilenetv4_conv_small_050"
    " timm/regnetx_002 timm/regnety_002 timm/resnest14d timm/resnet10t timm/tinynet_e"
).split()


@pytest.mark.parametrize("name", SMALL)
def test_a_real_network_is_pruned_and_not_gutted(name: str) -> None:
    network = calibrated(name)
    before, widths = num_filters(network), channel_config(network)
    x_NCHW = torch.randn(2, 3, 64, 64)

    plan = plan_pruning(network, 0.3, make_costs=FilterCosts, example_NCHW=x_NCHW[:1])
    groups, table = plan.groups(network, x_NCHW[:1]), FilterCosts(network)
    scores = [torch.rand(group.num_channels) for group in groups]
    chosen = choose_channels(groups, scores, [table(g) for g in groups], plan.to_remove, floors=plan.floors)
    remove_channels(network, groups, chosen, x_NCHW[:1])  # compares it with zeros in place of the channels

    assert num_filters(network) == pytest.approx(0.7 * before, rel=0.02)
    with torch.no_grad():
        assert network(x_NCHW).isfinite().all()
    for name_of_layer in streams(groups):
        left, whole = channel_config(network)[name_of_layer][0], widths[name_of_layer][0]
        assert left >= 0.35 * whole, f"{name_of_layer} has {left} of {whole} channels"


def streams(groups: list[ChannelGroup]) -> list[str]:
    return [member.layer for group in groups if group.is_stream for member in group.members if member.side == "out"]
