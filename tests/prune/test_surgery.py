"""Which channels are tied, and that a network without them computes what it should."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dreamdistill.prune.groups import ChannelGroup, Member, find_groups
from dreamdistill.prune.importance import gate_scores
from dreamdistill.prune.selection import MIN_SHARE, choose_channels
from dreamdistill.prune.surgery import remove_channels
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.channels import apply_channel_config, channel_config
from dreamdistill.shared.models.cost import num_filters
from dreamdistill.shared.models.networks import NETWORKS, PadShortcut


def own(name: str, in_channels: int = 3) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=in_channels)


def timm_resnet18() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.create_model("resnet18", pretrained=False, num_classes=10)


def vgg11_without_batchnorm() -> nn.Module:
    network = torchvision.models.vgg11(weights=None, init_weights=False)
    # 25,088 flattened features as ever, without the 120 million weights of the two layers behind them.
    network.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 10))
    return network


class Concatenated(nn.Module):
    """Two branches side by side, one with a BatchNorm and one without, then a flattening over 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.left_bn = nn.BatchNorm2d(4)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.after_bn = nn.BatchNorm2d(10)
        self.linear = nn.Linear(40, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        both = torch.cat([self.left_bn(self.left(x_NCHW)).relu(), self.right(x_NCHW)], dim=1)
        return self.linear(nn.functional.adaptive_avg_pool2d(self.after_bn(both).relu(), 2).flatten(1))


def randomize_batchnorms(network: nn.Module) -> None:
    """Statistics and scales that differ from channel to channel, so that no two channels can be taken for another."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]


def by_name(groups: list[ChannelGroup]) -> dict[str, ChannelGroup]:
    return {group.name: group for group in groups}


def layers(group: ChannelGroup, side: str) -> set[str]:
    return {member.layer for member in group.members if member.side == side}


def test_a_residual_stream_is_one_group_and_pads_end_it() -> None:
    torch.manual_seed(0)
    network = own("cifar_resnet20")
    groups = by_name(find_groups(network, torch.zeros(1, 3, 32, 32)))
    gates = {name: torch.rand(width[0], dtype=torch.float64) for name, width in channel_config(network).items()}

    stream = groups["layer2.0.conv2"]

    assert layers(stream, "out") == {
        *(f"layer2.{block}.{layer}" for block in range(3) for layer in ("conv2", "bn2")),
        "layer2.0.shortcut",
    }
    assert layers(stream, "in") == {"layer2.1.conv1", "layer2.2.conv1", "layer3.0.conv1", "layer3.0.shortcut"}
    assert stream.filters().tolist() == [3] * 32
    torch.testing.assert_close(stream.scores(gates), sum(gates[f"layer2.{block}.bn2"] for block in range(3)))
    assert sum(int(group.filters().sum()) for group in groups.values()) == num_filters(network)


def test_scores_and_indices_go_through_concatenation_and_flattening() -> None:
    network = Concatenated()
    groups = by_name(find_groups(network, torch.zeros(1, 3, 8, 8)))
    gates = {name: torch.rand(width[0], dtype=torch.float64) for name, width in channel_config(network).items()}

    left, right = groups["left"].scores(gates), groups["right"].scores(gates)

    # The right branch has no BatchNorm straight behind it, so its gate is its own output.
    torch.testing.assert_close(left, gates["left_bn"] + gates["after_bn"][:4])
    torch.testing.assert_close(right, gates["right"] + gates["after_bn"][4:])
    read = next(member for member in groups["right"].members if member.layer == "linear")
    pairs = sorted(zip(read.channels, read.indices, strict=True))
    assert pairs == [(c, (4 + c) * 4 + pixel) for c in range(6) for pixel in range(4)]


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (partial(own, "cifar_resnet20"), 32),
        (partial(own, "digits_cnn"), 8),
        (partial(own, "cifar_vgg11_bn"), 32),
        (Concatenated, 8),
        (partial(torchvision.models.mobilenet_v2, num_classes=10), 32),
    ],
    ids=["resnet20", "digits_cnn", "vgg11_bn", "concatenated", "mobilenet_v2"],
)
def test_removing_dead_channels_leaves_the_logits(build: Callable[[], nn.Module], size: int) -> None:
    torch.manual_seed(0)
    network = build().double().eval()
    randomize_batchnorms(network)
    x_NCHW = torch.randn(2, 3, size, size, dtype=torch.float64)
    groups = find_groups(network, x_NCHW[:1])
    going = {group.name: [0, group.num_channels // 2] for group in groups}
    for group in groups:  # gamma = beta = 0, or no weights where there is no BatchNorm: nothing comes out
        for member in group.members:
            module = network.get_submodule(member.layer)
            if member.side == "out" and isinstance(module, (nn.BatchNorm2d, nn.Conv2d)):
                dead = [i for i, c in zip(member.indices, member.channels, strict=True) if c in going[group.name]]
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter[dead] = 0
    expected_filters = num_filters(network) - sum(int(g.filters()[going[g.name]].sum()) for g in groups)
    before_NK = network(x_NCHW)

    remove_channels(network, groups, going, x_NCHW[:1])

    assert num_filters(network) == expected_filters
    torch.testing.assert_close(network(x_NCHW), before_NK, rtol=1e-9, atol=1e-12)


def test_pad_shortcut_renumbers_its_source() -> None:
    network = own("cifar_resnet20")
    groups = find_groups(network, torch.zeros(1, 3, 32, 32))

    # Channels 0 and 3 of 16 go in, and 8 (which read 0) and 31 (which reads nothing) of 32 go out.
    remove_channels(network, groups, {"conv1": [0, 3], "layer2.0.conv2": [8, 31]}, torch.zeros(1, 3, 32, 32))

    shortcut = network.get_submodule("layer2.0.shortcut")
    assert isinstance(shortcut, PadShortcut)
    assert shortcut.in_channels == 14
    assert shortcut.source.tolist() == [-1] * 8 + [0, 1, -1, *range(2, 14)] + [-1] * 7


ROUND_TRIPS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "digits_cnn": (partial(own, "digits_cnn", 1), 1, 8),
    "cifar_resnet20": (partial(own, "cifar_resnet20"), 3, 32),
    "cifar_resnet18": (partial(own, "cifar_resnet18"), 3, 32),
    "cifar_vgg11_bn": (partial(own, "cifar_vgg11_bn"), 3, 32),
    "resnet18": (partial(torchvision.models.resnet18, num_classes=10), 3, 64),
    "resnet50": (partial(torchvision.models.resnet50, num_classes=10), 3, 64),
    "mobilenet_v2": (partial(torchvision.models.mobilenet_v2, num_classes=10), 3, 64),
    "densenet121": (partial(torchvision.models.densenet121, num_classes=10), 3, 64),
    "efficientnet_b0": (partial(torchvision.models.efficientnet_b0, num_classes=10), 3, 64),
    "squeezenet1_1": (partial(torchvision.models.squeezenet1_1, num_classes=10), 3, 64),
    "resnext50_32x4d": (partial(torchvision.models.resnext50_32x4d, num_classes=10), 3, 64),
    "vgg11": (vgg11_without_batchnorm, 3, 64),
    "timm_resnet18": (timm_resnet18, 3, 64),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_pruned_twice_then_rebuilt_from_its_channel_table(name: str) -> None:
    torch.manual_seed(0)
    build, channels, size = ROUND_TRIPS[name]
    network = build().eval().requires_grad_(False)
    original, filters = channel_config(network), num_filters(network)
    x_NCHW = torch.randn(2, channels, size, size)
    for _ in range(2):
        groups = find_groups(network, x_NCHW[:1])
        gates = gate_scores(network, [(x_NCHW, torch.tensor([0, 1]))])
        scores = [group.scores(gates) for group in groups]
        remove_channels(network, groups, choose_channels(groups, scores, filters // 10, original=original), x_NCHW[:1])

    largest = max(int(group.filters().max()) for group in groups)
    assert abs(filters - 2 * (filters // 10) - num_filters(network)) <= largest
    assert not any(parameter.requires_grad for parameter in network.parameters())
    rebuilt = build().eval()
    apply_channel_config(rebuilt, channel_config(network))
    rebuilt.load_state_dict(network.state_dict())
    with torch.no_grad():
        logits_NK = network(x_NCHW)
        assert logits_NK.shape == (2, 10)
        assert torch.equal(rebuilt(x_NCHW), logits_NK)


def test_every_layer_keeps_its_share_however_often_channels_are_removed() -> None:
    network = own("digits_cnn", 1)
    original = channel_config(network)
    example_NCHW = torch.zeros(1, 1, 8, 8)
    for _ in range(3):
        groups = find_groups(network, example_NCHW)
        scores = [torch.rand(group.num_channels) for group in groups]
        remove_channels(network, groups, choose_channels(groups, scores, 10**6, original=original), example_NCHW)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels == math.ceil(MIN_SHARE * original[name][0])


def group_of(name: str, num_channels: int, num_convolutions: int) -> ChannelGroup:
    members = tuple(
        Member(
            layer=f"{name}.{i}",
            side="out",
            indices=tuple(range(num_channels)),
            channels=tuple(range(num_channels)),
            gated=True,
            filters=True,
        )
        for i in range(num_convolutions)
    )
    return ChannelGroup(name=name, num_channels=num_channels, members=members)


@pytest.mark.parametrize(
    ("num_filters", "expected"),
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
def test_the_least_important_channels_go_first_until_the_number_is_met(
    num_filters: int, expected: dict[str, list[int]]
) -> None:
    groups = [group_of("a", 3, num_convolutions=4), group_of("b", 4, num_convolutions=1)]
    scores = [torch.tensor([0.5, 0.6, 0.2]), torch.tensor([0.3, 0.1, 0.7, 0.8])]

    chosen = choose_channels(groups, scores, num_filters, original={"a": [3, 3, 1], "b": [20, 3, 1]})

    assert chosen == expected


class Tied(nn.Module):
    """A residual from the image, an ordinary grouped convolution, and a convolution for a head."""

    def __init__(self) -> None:
        super().__init__()
        self.on_image = nn.Conv2d(3, 3, 3, padding=1)
        self.free = nn.Conv2d(3, 8, 1)
        self.before_grouped = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.after_grouped = nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = self.free(x_NCHW + self.on_image(x_NCHW))
        out = self.grouped(self.before_grouped(out).relu())
        return self.head(self.after_grouped(out.relu()).relu()).relu().mean((2, 3))


def test_image_logits_and_grouped_convolutions_keep_their_channels() -> None:
    groups = find_groups(Tied(), torch.zeros(1, 3, 8, 8))

    assert [group.name for group in groups] == ["free", "after_grouped"]


class Flipped(nn.Module):
    """Reverses its channels halfway, which the tracer takes for an operation that leaves them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.linear = nn.Linear(8, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(self.conv2(self.conv1(x_NCHW).relu().flip(1)).mean((2, 3)))


def test_a_misread_architecture_is_refused_before_it_is_touched() -> None:
    network = Flipped()
    before = network.state_dict()
    groups = find_groups(network, torch.zeros(1, 3, 8, 8))

    with pytest.raises(ConfigError, match="cannot be pruned"):
        remove_channels(network, groups, {"conv1": [1]}, torch.zeros(1, 3, 8, 8))

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "build",
    [
        partial(torchvision.models.shufflenet_v2_x0_5, num_classes=10),
        partial(torchvision.models.VisionTransformer, 32, 8, 1, 2, 16, 16, num_classes=10),
    ],
    ids=["shufflenet", "vit"],
)
def test_architectures_that_cannot_be_traced_are_refused_in_one_sentence(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be pruned .* di-distill"):
        find_groups(build(), torch.zeros(1, 3, 32, 32))
