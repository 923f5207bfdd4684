"""Which channels can only be removed together, and which not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dreamdistill.prune.costs import NetworkCost
from dreamdistill.prune.units import COUNTED
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.channels import channel_config
from dreamdistill.shared.models.cost import num_filters
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.structure import operations
from dreamdistill.shared.structure.groups import ChannelGroup, find_groups


def by_name(groups: list[ChannelGroup]) -> dict[str, ChannelGroup]:
    return {group.name: group for group in groups}


def layers(group: ChannelGroup, side: str) -> set[str]:
    return {member.layer for member in group.members if member.side == side}


def random_gates(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.rand(width[0], dtype=torch.float64) for name, width in channel_config(network).items()}


def test_a_residual_stream_is_one_group_that_ends_at_pad_shortcuts() -> None:
    torch.manual_seed(0)
    network = NETWORKS["cifar_resnet20"].build(num_classes=10, in_channels=3)
    groups = by_name(find_groups(network, torch.zeros(1, 3, 32, 32)))
    gates = random_gates(network)
    cost = NetworkCost.of(COUNTED["ratio"], network, torch.zeros(1, 3, 32, 32))

    stream = groups["layer2.0.conv2"]

    assert layers(stream, "out") == {
        *(f"layer2.{block}.{layer}" for block in range(3) for layer in ("conv2", "bn2")),
        "layer2.0.shortcut",
    }
    assert layers(stream, "in") == {"layer2.1.conv1", "layer2.2.conv1", "layer3.0.conv1", "layer3.0.shortcut"}
    torch.testing.assert_close(stream.scores(gates), sum(gates[f"layer2.{block}.bn2"] for block in range(3)))
    assert cost.saved([stream], {"layer2.0.conv2": [0, 5]}) == 2 * 3
    each = [cost.saved([group], {group.name: range(group.num_channels)}) for group in groups.values()]
    assert sum(each) == cost.total == num_filters(network)


def test_scores_and_indices_follow_concatenation_and_flattening(concatenated: nn.Module) -> None:
    groups = by_name(find_groups(concatenated, torch.zeros(1, 3, 8, 8)))
    gates = random_gates(concatenated)

    left, right = groups["left"].scores(gates), groups["right"].scores(gates)

    # No BatchNorm directly follows the right branch, so its gate is its own output.
    torch.testing.assert_close(left, gates["left_bn"] + gates["after_bn"][:4])
    torch.testing.assert_close(right, gates["right"] + gates["after_bn"][4:])
    read = next(member for member in groups["right"].members if member.layer == "linear")
    pairs = sorted(zip(read.channels, read.indices, strict=True))
    assert pairs == [(c, (4 + c) * 4 + pixel) for c in range(6) for pixel in range(4)]


class Tied(nn.Module):
    """A residual connection from the image, an ordinary grouped convolution, and a convolution as the head."""

    def __init__(self) -> None:
        super().__init__()
        self.on_image = nn.Conv2d(3, 3, 3, padding=1)
        self.free = nn.Conv2d(3, 8, 1)
        self.before_grouped = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 4, 3, groups=2)
        self.after_grouped = nn.Conv2d(4, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = self.free(x_NCHW + self.on_image(x_NCHW))
        out = self.grouped(self.before_grouped(out).relu())
        return self.head(self.after_grouped(out.relu()).relu()).relu().mean((2, 3))


def test_channels_of_the_image_and_the_logits_stay_and_those_of_grouped_convolutions_go_by_their_place() -> None:
    groups = by_name(find_groups(Tied(), torch.zeros(1, 3, 8, 8)))

    assert list(groups) == ["free", "before_grouped", "grouped", "after_grouped"]
    # 8 inputs in 2 groups are 4 places, 4 outputs 2.
    assert [groups[name].num_channels for name in groups] == [8, 4, 2, 8]
    written = next(member for member in groups["grouped"].members if member.layer == "grouped")
    assert (written.indices, written.channels) == ((0, 1, 2, 3), (0, 1, 0, 1))
    gates = random_gates(Tied())
    expected = (gates["grouped"][:2] + gates["grouped"][2:]) / 2  # a mean: one place counts as much as one channel
    torch.testing.assert_close(groups["grouped"].scores(gates), expected)


def test_the_hidden_layers_of_transformers_are_groups() -> None:
    network = torchvision.models.VisionTransformer(32, 8, 1, 2, 16, 24, num_classes=10)
    (group,) = find_groups(network, torch.zeros(1, 3, 32, 32))
    assert group.num_channels == 24
    assert (layers(group, "out"), layers(group, "in")) == (
        {"encoder.layers.encoder_layer_0.mlp.0"},
        {"encoder.layers.encoder_layer_0.mlp.3"},
    )


class Shuffled(nn.Module):
    """Its channels in another order, by three places of two halves each."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after, self.linear = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Linear(8, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = self.before(x_NCHW)
        count, channels, height, width = out.shape
        out = out.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(out.shape)
        return self.linear(self.after(out).mean((2, 3)))


def test_a_channel_shuffle_ties_the_same_places() -> None:
    group, _ = find_groups(Shuffled(), torch.zeros(1, 3, 8, 8))
    assert {member.layer: member.channels for member in group.members} == {
        "before": (0, 1, 2, 0, 1, 2),
        "after": (0, 0, 1, 1, 2, 2),
    }


def twice_the_weight() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(3 * 64, 5))
    network[1].weight = network[0].weight
    return network


def weight_normed() -> nn.Module:
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 1))
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5))


@pytest.mark.parametrize("build", [twice_the_weight, weight_normed])
def test_layers_whose_weights_are_not_their_own_stay(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be pruned .* di-distill"):
        find_groups(build(), torch.zeros(1, 3, 8, 8))


class Opaque(nn.Module):
    """An operation of no known kind between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after, self.linear = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = self.after(torch.sort(self.before(x_NCHW), dim=1).values)
        return self.linear(out.mean((2, 3)))


@pytest.mark.parametrize("kind", ["CELU", "ELU", "Hardsigmoid", "Hardtanh", "LeakyReLU", "ReLU6", "SELU"])
@pytest.mark.parametrize("inplace", [False, True])
def test_channels_pass_activations_that_older_torch_does_not_tag(
    kind: str, inplace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions 2.6 and 2.11 do not say of some of them that they work element by element."""
    monkeypatch.setattr(operations, "_TAG", torch.Tag.dynamic_output_shape)
    activation = getattr(nn, kind)(inplace=inplace)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), activation, nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 5))
    assert [group.name for group in find_groups(network.eval(), torch.zeros(1, 3, 8, 8))] == ["0", "2"]


def test_what_an_unknown_operation_reads_stays() -> None:
    assert [group.name for group in find_groups(Opaque(), torch.zeros(1, 3, 8, 8))] == ["after"]
