"""What a part of a network is worth: nothing if it does nothing, and the more the more the answers move without it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from random_networks import resnet20_of
from torch import nn

from dreamdistill.prune.config import Budget
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.schedule import prune_network
from dreamdistill.prune.selection import Choice
from dreamdistill.shared.models.cost import count_macs
from dreamdistill.shared.models.dropped import dropped_blocks
from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.importance import gate_scores
from dreamdistill.shared.structure.observation import observe
from dreamdistill.shared.structure.values import Answers, Values, measure_values

X_NCHW = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS_N = torch.arange(96) % 10


@pytest.fixture
def network() -> nn.Module:
    """A ResNet-20 whose block layer2.1 adds almost nothing, and whose layer1.0.conv1 has four silent channels."""
    network = resnet20_of(X_NCHW)
    with torch.no_grad():
        network.get_submodule("layer2.1.bn2").weight.mul_(1e-3)  # type: ignore[union-attr]
        network.get_submodule("layer2.1.bn2").bias.zero_()  # type: ignore[union-attr]
        for vector in network.get_submodule("layer1.0.bn1").parameters():
            vector[:4] = 0
    return network


def values_of(network: nn.Module) -> Values:
    plan = plan_pruning(network, Budget(option="macs", left=0.5), example_NCHW=X_NCHW[:1])
    return measure_values(
        CutNetwork.of(network),
        observe(network, X_NCHW[:64], blocks=plan.blocks, rows=2048),
        Answers.of(network, X_NCHW[64:]),
        plan.groups(network, X_NCHW[:1]),
        gate_scores(network, [(X_NCHW, TARGETS_N)]),
        floors=plan.floors,
        blocks=plan.blocks,
    )


def test_what_does_nothing_is_worth_least(network: nn.Module) -> None:
    values = values_of(network)
    assert min(values.blocks, key=lambda block: values.blocks[block]) == "layer2.1"
    assert set(values.order["layer1.0.conv1"][:4]) == {0, 1, 2, 3}
    assert values.channels["layer1.0.conv1"][4] == 0
    assert values.channels["layer1.0.conv1"][5] > 0
    for name, losses in values.channels.items():
        assert (losses[1:] >= losses[:-1]).all(), name


def test_the_cut_network_is_the_one_of_least_loss(network: nn.Module) -> None:
    plan = plan_pruning(network, Budget(option="macs", left=0.6), example_NCHW=X_NCHW[:1])
    seen: list[int] = []
    kept: list[Sequence[Choice]] = []
    prune = partial(
        prune_network,
        network,
        plan,
        iterations=2,
        batches=lambda: [(X_NCHW, TARGETS_N)],
        example_NCHW=X_NCHW[:1],
    )
    bite = prune(keep=kept.append, report_progress=seen.append)
    assert seen == [1, 2]
    assert "layer2.1" in dropped_blocks(bite.fitted.network)
    before = count_macs(network, X_NCHW[:1])
    assert 0.55 * before <= count_macs(bite.fitted.network, X_NCHW[:1]) <= 0.6 * before
    answers = Answers.of(network, X_NCHW)
    assert answers.change(bite.fitted.network) < 0.5 * answers.change(bite.cut.network)
    assert answers.change(network) == 0

    def unasked(choices: Sequence[Choice]) -> None:
        raise AssertionError("what was chosen before is not chosen again")

    again = prune(known=kept[-1], keep=unasked)
    assert torch.equal(again.fitted.network(X_NCHW), bite.fitted.network(X_NCHW))
