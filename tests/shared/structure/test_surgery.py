"""A network without the removed channels computes what it should, and loads again from its channel configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dreamdistill.prune.config import Budget
from dreamdistill.prune.costs import NetworkCost
from dreamdistill.prune.planning import PruningPlan, plan_pruning
from dreamdistill.prune.units import COUNTED
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.channels import apply_channel_config, channel_config
from dreamdistill.shared.models.cost import num_filters
from dreamdistill.shared.models.networks import NETWORKS, PadShortcut
from dreamdistill.shared.structure.groups import find_groups
from dreamdistill.shared.structure.importance import gate_scores
from dreamdistill.shared.structure.surgery import remove_channels


def own(name: str, in_channels: int = 3) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=in_channels)


def timm_resnet18() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.create_model("resnet18", pretrained=False, num_classes=10)


def vgg11_without_batchnorm() -> nn.Module:
    network = torchvision.models.vgg11(weights=None, init_weights=False)
    # 25,088 flattened features as in the original, without the 120 million weights of the two layers behind them.
    network.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 10))
    return network


def randomize_batchnorms(network: nn.Module) -> None:
    """Statistics and scales that differ from channel to channel, so that no channel can be mistaken for another."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (partial(own, "cifar_resnet20"), 32),
        (partial(own, "digits_cnn"), 8),
        (partial(own, "cifar_vgg11_bn"), 32),
        (partial(torchvision.models.mobilenet_v2, num_classes=10), 32),
    ],
    ids=["resnet20", "digits_cnn", "vgg11_bn", "mobilenet_v2"],
)
def test_removing_channels_of_zeros_leaves_the_logits(build: Callable[[], nn.Module], size: int) -> None:
    torch.manual_seed(0)
    check_removal_of_zeros(build(), size)


def test_removing_channels_of_zeros_ahead_of_a_concatenation_leaves_the_logits(concatenated: nn.Module) -> None:
    check_removal_of_zeros(concatenated, 8)


def check_removal_of_zeros(network: nn.Module, size: int) -> None:
    network = network.double().eval()
    randomize_batchnorms(network)
    x_NCHW = torch.randn(2, 3, size, size, dtype=torch.float64)
    groups = find_groups(network, x_NCHW[:1])
    removed = {group.name: [0, group.num_channels // 2] for group in groups}
    for group in groups:  # gamma = beta = 0, or weights of 0 where there is no BatchNorm: the outputs are 0
        for member in group.members:
            module = network.get_submodule(member.layer)
            if member.side == "out" and isinstance(module, (nn.BatchNorm2d, nn.Conv2d, nn.Linear)):
                zeros = [i for i, c in zip(member.indices, member.channels, strict=True) if c in removed[group.name]]
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter[zeros] = 0
    expected_filters = NetworkCost.of(COUNTED["ratio"], network, x_NCHW[:1]).left(groups, removed)
    before_NK = network(x_NCHW)

    remove_channels(network, groups, removed, x_NCHW[:1])

    assert num_filters(network) == expected_filters
    torch.testing.assert_close(network(x_NCHW), before_NK, rtol=1e-9, atol=1e-12)


def test_pad_shortcut_renumbers_its_source() -> None:
    network = own("cifar_resnet20")
    groups = find_groups(network, torch.zeros(1, 3, 32, 32))

    # Inputs 0 and 3 of 16 are removed, and outputs 8 (which reads input 0) and 31 (which reads none) of 32.
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
def test_pruned_twice_then_rebuilt_from_its_channel_configuration(name: str) -> None:
    torch.manual_seed(0)
    build, channels, size = ROUND_TRIPS[name]
    network = build().eval().requires_grad_(False)
    filters = num_filters(network)
    x_NCHW = torch.randn(2, channels, size, size)
    for _ in range(2):
        groups = find_groups(network, x_NCHW[:1])
        gates = gate_scores(network, [(x_NCHW, torch.tensor([0, 1]))])
        lowest = {group.name: group.scores(gates).argsort()[: group.num_channels // 8].tolist() for group in groups}
        remove_channels(network, groups, lowest, x_NCHW[:1])

    assert num_filters(network) < 0.9 * filters
    assert not any(parameter.requires_grad for parameter in network.parameters())
    rebuilt = build().eval()
    apply_channel_config(rebuilt, channel_config(network))
    rebuilt.load_state_dict(network.state_dict())
    with torch.no_grad():
        logits_NK = network(x_NCHW)
        assert logits_NK.shape == (2, 10)
        assert torch.equal(rebuilt(x_NCHW), logits_NK)


class HardCoded(nn.Module):
    """Takes the first half of its channels by a number, which holds for the whole network only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(4, 8, 3)
        self.linear = nn.Linear(8, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(self.conv2(self.conv1(x_NCHW).relu()[:, 4:]).mean((2, 3)))


def test_a_misread_architecture_is_refused_before_it_is_changed() -> None:
    network = HardCoded()
    before = network.state_dict()
    groups = find_groups(network, torch.zeros(1, 3, 8, 8))

    with pytest.raises(ConfigError, match="cannot be pruned"):
        remove_channels(network, groups, {"conv1": [1]}, torch.zeros(1, 3, 8, 8))

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def plan_for(network: nn.Module, ratio: float) -> PruningPlan:
    return plan_pruning(network, Budget(option="ratio", left=1 - ratio), example_NCHW=torch.zeros(1, 3, 8, 8))


def test_one_bad_group_is_left_out_and_named() -> None:
    plan = plan_for(HardCoded(), 0.2)
    assert plan.left_out == ("conv1",)
    assert "conv1" in str(plan.remarks())
    assert set(plan.floors) == {"conv2"}


def test_a_ratio_that_cannot_be_reached_is_refused_with_the_one_that_can() -> None:
    with pytest.raises(ConfigError, match=r"--ratio 0\.5 is more .* --ratio 0\.37 is the most"):
        plan_for(HardCoded(), 0.5)


def test_a_branch_that_starts_asleep_hides_no_mistake() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Asleep(), nn.Flatten(), nn.Linear(8 * 36, 5))
    plan = plan_for(network, 0.2)
    assert plan.left_out == ("2.conv1",)


class Asleep(nn.Module):
    """A residual block that cannot be narrowed, with a scale that starts so small that nobody would see it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.gamma = nn.Parameter(1e-6 * torch.ones(1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.gamma * self.conv2(self.conv1(x_NCHW)[:, torch.arange(8).flip(0) % 7])
