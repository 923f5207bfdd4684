"""Which channels are chosen for a budget, in filters and in costs of one's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.prune.budget import CostTable, FilterCosts
from dreamdistill.prune.planning import MIN_SHARE, plan_pruning
from dreamdistill.prune.schedule import prune_network
from dreamdistill.prune.selection import choose_channels
from dreamdistill.shared.models.channels import channel_config
from dreamdistill.shared.models.cost import num_filters, num_parameters
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.structure.groups import ChannelGroup
from dreamdistill.shared.structure.surgery import remove_channels


def digits_cnn() -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (0, {}),
        (1, {"b": [1]}),
        (2, {"b": [1]}),  # the next would make 5, farther off than 1
        (3, {"b": [1], "a": [2]}),  # 5 is as near as 1
        (5, {"b": [1], "a": [2]}),
        (6, {"b": [1, 0], "a": [2]}),
        (99, {"b": [1, 0], "a": [2, 0]}),  # one channel of a, and two of b, have to stay
    ],
)
def test_the_least_important_channels_are_chosen_until_the_budget_is_met(
    budget: int, expected: dict[str, list[int]]
) -> None:
    groups = [ChannelGroup(name=name, num_channels=count, members=()) for name, count in (("a", 3), ("b", 4))]
    scores = [torch.tensor([0.5, 0.6, 0.2]), torch.tensor([0.3, 0.1, 0.7, 0.8])]
    costs = [torch.full((3,), 4), torch.full((4,), 1)]

    chosen = choose_channels(groups, scores, costs, budget, floors={"a": 1, "b": 2})

    assert chosen == expected


def test_of_channels_with_one_score_all_groups_lose_the_same_share() -> None:
    groups = [ChannelGroup(name=name, num_channels=count, members=()) for name, count in (("a", 4), ("b", 8))]
    scores, costs = [torch.zeros(4), torch.zeros(8)], [torch.ones(4).long(), torch.ones(8).long()]
    assert choose_channels(groups, scores, costs, 6, floors={"a": 1, "b": 1}) == {"a": [0, 1], "b": [0, 1, 2, 3]}


def test_every_layer_keeps_its_share_however_often_channels_are_removed() -> None:
    network = digits_cnn()
    original = channel_config(network)
    example_NCHW = torch.zeros(1, 1, 8, 8)
    plan = plan_pruning(network, 0.3, make_costs=FilterCosts, example_NCHW=example_NCHW)
    for _ in range(3):
        groups, table = plan.groups(network, example_NCHW), FilterCosts(network)
        scores = [torch.rand(group.num_channels) for group in groups]
        chosen = choose_channels(groups, scores, [table(group) for group in groups], 10**6, floors=plan.floors)
        remove_channels(network, groups, chosen, example_NCHW)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):  # those between two others, and those of residual streams
            share = MIN_SHARE if name.endswith("0.conv1") else (1 - 0.3) / 2
            assert module.out_channels == math.ceil(share * original[name][0])
    assert num_filters(digits_cnn()) - num_filters(network) == plan.removable


@dataclass(frozen=True, slots=True)
class ParameterCosts(CostTable):
    """Costs in parameters: all elements of weights and biases that belong to a channel."""

    network: nn.Module

    @property
    def total(self) -> int:
        return num_parameters(self.network)

    def __call__(self, group: ChannelGroup) -> Tensor:
        total_C = torch.zeros(group.num_channels, dtype=torch.int64)
        for member in group.members:
            module = self.network.get_submodule(member.layer)
            each = sum(parameter.numel() // len(parameter) for parameter in module.parameters())
            if member.side == "in":
                weight = module.get_parameter("weight")
                each = weight.numel() // weight.shape[1]
            total_C += each * torch.bincount(torch.tensor(member.channels), minlength=group.num_channels)
        return total_C


@pytest.mark.parametrize("make_costs", [FilterCosts, ParameterCosts])
def test_the_cost_that_is_saved_is_an_argument(make_costs: type[FilterCosts] | type[ParameterCosts]) -> None:
    network = digits_cnn()
    before, filters = make_costs(network).total, num_filters(network)
    iterations: list[int] = []
    x_NCHW, targets_N = torch.randn(8, 1, 8, 8), torch.arange(8)

    prune_network(
        network,
        plan_pruning(network, 0.4, make_costs=make_costs, example_NCHW=x_NCHW[:1]),
        make_costs=make_costs,
        iterations=3,
        batches=lambda: [(x_NCHW, targets_N)],
        example_NCHW=x_NCHW[:1],
        report_progress=iterations.append,
    )

    assert make_costs(network).total == pytest.approx(0.6 * before, rel=0.02)
    assert iterations == [1, 2, 3]
    if make_costs is ParameterCosts:
        assert num_filters(network) != round(0.6 * filters)
