"""Which channels and blocks are chosen for a budget, in each unit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dreamdistill.prune.config import Budget
from dreamdistill.prune.costs import NetworkCost
from dreamdistill.prune.patterns import Patterns
from dreamdistill.prune.planning import MIN_SHARE, PruningPlan, plan_pruning
from dreamdistill.prune.schedule import prune_network
from dreamdistill.prune.selection import Choice, select
from dreamdistill.prune.units import COUNTED
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.channels import channel_config
from dreamdistill.shared.models.cost import count_macs, num_filters, num_parameters
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.groups import ChannelGroup, find_groups
from dreamdistill.shared.structure.values import Values

X_NCHW = torch.zeros(1, 3, 32, 32)
SIZES = {"ratio": num_filters, "macs": lambda network: count_macs(network, X_NCHW), "params": num_parameters}


@pytest.fixture(scope="module")
def resnet20() -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS["cifar_resnet20"].build(num_classes=10, in_channels=3).eval()


def random_values(groups: list[ChannelGroup], blocks: tuple[str, ...], seed: int) -> Values:
    draw = np.random.default_rng(seed)
    return Values(
        order={group.name: draw.permutation(group.num_channels).tolist() for group in groups},
        channels={g.name: np.concatenate([[0.0], draw.random(g.num_channels).cumsum()]) for g in groups},
        blocks={block: 5 * draw.random() for block in blocks},
    )


def choice_of(network: nn.Module, plan: PruningPlan, values: Values) -> Choice:
    return select(
        plan.groups(network, X_NCHW),
        plan.blocks,
        values,
        NetworkCost.of(plan.unit, network, X_NCHW),
        target=plan.target,
        floors=plan.floors,
        round_to=plan.round_to,
    )


@pytest.mark.parametrize("option", SIZES)
@pytest.mark.parametrize("left", [0.8, 0.5, 0.3])
def test_what_is_left_is_what_may_be(resnet20: nn.Module, option: str, left: float) -> None:
    plan = plan_pruning(resnet20, Budget(option=option, left=left), example_NCHW=X_NCHW)
    groups = plan.groups(resnet20, X_NCHW)
    choice = choice_of(resnet20, plan, random_values(groups, plan.blocks, 1))
    cut = CutNetwork.of(resnet20).without(groups, choice.removed, choice.dropped, example_NCHW=X_NCHW)

    size, before = SIZES[option](cut.network), SIZES[option](resnet20)
    assert size == choice.left <= left * before
    # Nothing goes in vain: without any one part of the choice, too much would be left.
    cost = NetworkCost.of(COUNTED[option], resnet20, X_NCHW)
    for name in choice.removed:
        others = {other: channels for other, channels in choice.removed.items() if other != name}
        assert cost.left(groups, others, choice.dropped) > plan.target
    for block in choice.dropped:
        others = [other for other in choice.dropped if other != block]
        assert cost.left(groups, choice.removed, others) > plan.target


def test_a_part_that_is_worth_nothing_goes_first(resnet20: nn.Module) -> None:
    plan = plan_pruning(resnet20, Budget(option="macs", left=0.8), example_NCHW=X_NCHW)
    values = random_values(plan.groups(resnet20, X_NCHW), plan.blocks, 2)
    worthless = Values(order=values.order, channels=values.channels, blocks={**values.blocks, "layer2.1": 0.0})
    assert "layer2.1" in choice_of(resnet20, plan, worthless).dropped

    channels = {**values.channels, "layer3.1.conv1": np.zeros(65)}
    worthless = Values(order=values.order, channels=channels, blocks=dict.fromkeys(plan.blocks, 1e6))
    chosen = choice_of(resnet20, plan, worthless)
    assert not chosen.dropped
    assert (
        list(chosen.removed["layer3.1.conv1"]) == values.order["layer3.1.conv1"][: 64 - plan.floors["layer3.1.conv1"]]
    )


def test_narrowed_layers_have_multiples_of_the_asked_number(resnet20: nn.Module) -> None:
    plan = plan_pruning(resnet20, Budget(option="macs", left=0.5), example_NCHW=X_NCHW, round_to=[8])
    groups = plan.groups(resnet20, X_NCHW)
    choice = choice_of(resnet20, plan, random_values(groups, plan.blocks, 3))
    cut = CutNetwork.of(resnet20).without(groups, choice.removed, choice.dropped)
    widths = {name: channels[0] for name, channels in channel_config(cut.network).items() if "conv" in name}
    assert all(width % 8 == 0 for width in widths.values())
    assert choice.left <= plan.target


def test_narrow_layers_are_rounded_less() -> None:
    """On a GPU widths are in eights. Of layers of 10 channels that would take away a fifth, and not more."""
    network = nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.Flatten(), nn.Linear(7840, 10))
    budget = Budget(option="ratio", left=0.7)
    assert plan_pruning(network.eval(), budget, example_NCHW=X_NCHW, round_to=[8, 4, 2, 1]).round_to == 4
    with pytest.raises(ConfigError, match=r"--ratio 0\.3 .* to a multiple of 8 channels: --ratio 0\.2 is the most"):
        plan_pruning(network, budget, example_NCHW=X_NCHW, round_to=[8])


def test_every_group_keeps_its_share(resnet20: nn.Module) -> None:
    plan = plan_pruning(resnet20, Budget(option="macs", left=0.4), example_NCHW=X_NCHW)
    for group in find_groups(resnet20, X_NCHW):
        share = 0.4 / 2 if group.is_stream else MIN_SHARE
        assert plan.floors[group.name] == max(2, math.ceil(share * group.num_channels))


def test_a_budget_out_of_reach_is_refused_with_the_one_that_works(resnet20: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"--macs 0.001 is more than this network allows.*: --macs 0\.\d+ is the most"
    ):
        plan_pruning(resnet20, Budget(option="macs", left=0.001), example_NCHW=X_NCHW)
    with pytest.raises(ConfigError, match=r"--ratio 0.99 is more than .*: --ratio 0\.\d+ is the most that works"):
        plan_pruning(resnet20, Budget(option="ratio", left=0.01), example_NCHW=X_NCHW)


def test_patterns_say_what_may_go(resnet20: nn.Module) -> None:
    budget = Budget(option="macs", left=0.8)
    keep = plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(keep=["layer3", "layer1.0.*"]))
    assert set(keep.blocks) == {"layer1.1", "layer1.2", "layer2.1", "layer2.2"}
    assert "layer2.0.conv1" in keep.floors
    assert not any(name.startswith(("layer3", "layer1.0")) for name in keep.floors)
    assert "conv1" not in keep.floors  # the stream that layer1.0 writes to

    only = plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(only=["layer?.1"]))
    assert set(only.blocks) == {"layer1.1", "layer2.1", "layer3.1"}
    assert set(only.floors) == {"layer1.1.conv1", "layer2.1.conv1", "layer3.1.conv1"}

    with pytest.raises(ConfigError, match=r"no layer 'layer4' \(--keep\); did you mean"):
        plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(keep=["layer4"]))
    with pytest.raises(ConfigError, match="nothing is left that may go"):
        plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(keep=["*"]))


def test_a_batchnorm_follows_the_layer_that_a_pattern_names(resnet20: nn.Module) -> None:
    budget = Budget(option="macs", left=0.95)
    only = plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(only=["layer1.*.conv1"]))
    assert set(only.floors) == {"layer1.0.conv1", "layer1.1.conv1", "layer1.2.conv1"}
    assert not only.blocks
    block = plan_pruning(resnet20, budget, example_NCHW=X_NCHW, patterns=Patterns(only=["layer1.1.conv?"]))
    assert block.blocks == ("layer1.1",)


def test_layers_with_outputs_in_common_must_all_be_named(resnet20: nn.Module) -> None:
    with pytest.raises(
        ConfigError,
        match=r"conv1 has its outputs in common with layer1.0.conv2, layer1.1.conv2, .* --only must name all",
    ):
        plan_pruning(resnet20, Budget(option="macs", left=0.9), example_NCHW=X_NCHW, patterns=Patterns(only=["conv1"]))


@pytest.mark.parametrize("seed", range(6))
def test_no_choice_takes_all_where_less_is_enough(resnet20: nn.Module, seed: int) -> None:
    """What parts save together is less than the sum, so the first choices leave too much."""
    plan = plan_pruning(resnet20, Budget(option="macs", left=0.7), example_NCHW=X_NCHW)
    values = random_values(plan.groups(resnet20, X_NCHW), plan.blocks, seed)
    values = Values(order=values.order, channels=values.channels, blocks=dict.fromkeys(plan.blocks, 1e6))
    assert 0.69 * plan.total <= choice_of(resnet20, plan, values).left <= 0.7 * plan.total


def test_a_choice_of_another_network_is_known(resnet20: nn.Module) -> None:
    plan = plan_pruning(resnet20, Budget(option="macs", left=0.5), example_NCHW=X_NCHW)
    groups = plan.groups(resnet20, X_NCHW)
    choice = choice_of(resnet20, plan, random_values(groups, plan.blocks, 4))
    assert choice.fits(groups, plan.blocks)
    for wrong in (
        replace(choice, removed={"layer9": (0,)}),
        replace(choice, removed={"layer1.0.conv1": (0, 0)}),
        replace(choice, removed={"layer1.0.conv1": (99,)}),
        replace(choice, removed={"layer1.0.conv1": (-1,)}),
        replace(choice, removed={"layer1.0.conv1": tuple(range(16))}),
        replace(choice, dropped=("conv1",)),
    ):
        assert not wrong.fits(groups, plan.blocks)
    with pytest.raises(ConfigError, match="--overwrite"):
        prune_network(
            resnet20,
            plan,
            iterations=1,
            batches=lambda: [(torch.randn(8, 3, 32, 32), torch.arange(8))],
            example_NCHW=X_NCHW,
            known=[replace(choice, dropped=("conv1",))],
        )
