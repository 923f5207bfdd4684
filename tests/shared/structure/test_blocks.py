"""Which blocks of a network can be dropped, by what they compute, and what is left when they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.models import VisionTransformer, convnext, resnet18
from torchvision.ops import FrozenBatchNorm2d

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.dropped import drop_blocks, dropped_blocks
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.structure.blocks import find_blocks
from dreamdistill.shared.structure.groups import find_groups
from dreamdistill.shared.structure.surgery import remove_channels


def own(name: str) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=3)


def timm(name: str, **options: Any) -> nn.Module:
    return pytest.importorskip("timm").create_model(name, num_classes=10, **options)


def vit() -> nn.Module:
    return VisionTransformer(image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)


def mixer() -> nn.Module:
    mlp_mixer = pytest.importorskip("timm.models.mlp_mixer")
    return mlp_mixer.MlpMixer(num_classes=10, img_size=32, patch_size=8, num_blocks=3, embed_dim=32)


def convnext_of(*depths: int) -> nn.Module:
    settings = [convnext.CNBlockConfig(a, b, n) for a, b, n in zip((8, 16, 24), (16, 24, None), depths, strict=True)]
    return convnext.ConvNeXt(settings, num_classes=10)


# The blocks whose shortcut is the identity, counted by hand.
COUNTS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "cifar_resnet20": (partial(own, "cifar_resnet20"), 3 + 2 + 2),
    "cifar_resnet18": (partial(own, "cifar_resnet18"), 2 + 1 + 1 + 1),
    "cifar_vgg11_bn": (partial(own, "cifar_vgg11_bn"), 0),
    "resnet18": (resnet18, 2 + 1 + 1 + 1),
    "resnet18, last gammas 0": (partial(resnet18, zero_init_residual=True), 2 + 1 + 1 + 1),
    "resnet18, frozen BatchNorm": (partial(resnet18, norm_layer=FrozenBatchNorm2d), 2 + 1 + 1 + 1),
    "resnet50": (torchvision.models.resnet50, 2 + 3 + 5 + 2),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, 1 + 2 + 3 + 2 + 2),
    "mobilenet_v3_small": (torchvision.models.mobilenet_v3_small, 1 + 2 + 1 + 2),
    "regnet_y_400mf": (torchvision.models.regnet_y_400mf, 0 + 2 + 5 + 5),
    "convnext": (partial(convnext_of, 2, 1, 3), 2 + 1 + 3),
    "vit": (vit, 3),
    "densenet121": (torchvision.models.densenet121, 0),
    "shufflenet_v2": (torchvision.models.shufflenet_v2_x0_5, 0),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, 0),
    "timm efficientnet_b0": (partial(timm, "efficientnet_b0"), 1 + 1 + 2 + 2 + 3),
    "timm resnetv2": (partial(timm, "resnetv2_50", layers=(2, 2, 3), channels=(32, 64, 96), stem_chs=16), 1 + 1 + 2),
    "timm mixer": (mixer, 3),
    "timm convnextv2_atto": (partial(timm, "convnextv2_atto", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)), 5),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_blocks_of_known_networks_are_counted_and_can_all_go(name: str) -> None:
    build, count = COUNTS[name]
    torch.manual_seed(0)
    network, x_NCHW = build(), torch.randn(2, 3, 32, 32)
    blocks = find_blocks(network, x_NCHW[:1])

    assert len(blocks) == count
    drop_blocks(network, [block.name for block in blocks])
    assert sorted(dropped_blocks(network)) == sorted(block.name for block in blocks)
    assert find_blocks(network, x_NCHW[:1]) == []
    with torch.no_grad():
        assert network.eval()(x_NCHW).isfinite().all()


class Residual(nn.Module):
    """``after(shortcut(x) + branch(x))``."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return self.after(self.shortcut(x) + self.branch(x))


def conv(kernel_size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(4, 4, kernel_size, padding=kernel_size // 2)


def network_of(*modules: nn.Module, stem: nn.Module | None = None) -> nn.Sequential:
    """The modules between a stem, which returns numbers of both signs unless it is given, and a classifier."""
    first = stem or nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(first, nn.Sequential(*modules), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))


def names_of(network: nn.Module) -> list[str]:
    return [block.name for block in find_blocks(network, torch.zeros(1, 3, 8, 8))]


def positive_by_chance() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    nn.init.constant_(stem[1].bias, 20.0)
    return stem


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


NO_BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "no shortcut": lambda: network_of(conv()),
    "no layer": lambda: network_of(Residual(nn.BatchNorm2d(4))),
    "a shortcut that is smoothed": lambda: network_of(Residual(conv(), nn.AvgPool2d(3, 1, 1))),
    "a shortcut that is shifted": lambda: network_of(Residual(conv(), nn.ZeroPad2d((1, -1, 0, 0)))),
    "a shortcut with channels in another order": lambda: network_of(Residual(conv(), nn.ChannelShuffle(2))),
    "a shortcut with a convolution": lambda: network_of(Residual(conv(), conv(1))),
    "a shortcut with a BatchNorm": lambda: network_of(Residual(conv(), nn.BatchNorm2d(4))),
    "a shortcut with a learned factor of 1": lambda: network_of(Residual(conv(), Scaled(1.0))),
    "a branch of its own size": lambda: network_of(Residual(nn.Sequential(conv(), nn.Sigmoid()))),
    "numbers of both signs ahead of a ReLU": lambda: network_of(Residual(conv(), after=nn.ReLU())),
    "no negative ones by chance": lambda: network_of(Residual(conv(), after=nn.ReLU()), stem=positive_by_chance()),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_what_is_no_block(name: str) -> None:
    torch.manual_seed(0)
    assert names_of(NO_BLOCKS[name]()) == []


def behind_relu() -> nn.Module:
    return network_of(
        Residual(conv(), after=nn.ReLU(inplace=True)), stem=nn.Sequential(positive_by_chance(), nn.ReLU())
    )


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: network_of(Residual(conv())),
    "a ReLU behind a ReLU": behind_relu,
    "a BatchNorm without parameters": lambda: network_of(
        Residual(nn.Sequential(conv(), nn.BatchNorm2d(4, affine=False)))
    ),
    "a layer scale of 0": lambda: network_of(Residual(nn.Sequential(conv(), Scaled(0.0)))),
    "a layer of the user's own weight": lambda: network_of(Residual(parametrizations.weight_norm(conv()))),
    "a spectral norm": lambda: network_of(Residual(parametrizations.spectral_norm(conv()))),
    "a gate": lambda: network_of(
        Residual(nn.Sequential(conv(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1), nn.Sigmoid(), Scaled(1.0)))
    ),
    "a small block within": lambda: network_of(Residual(nn.Sequential(Residual(conv(1)), conv(3)))),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_a_block(name: str) -> None:
    torch.manual_seed(0)
    assert names_of(BLOCKS[name]().eval()) == ["1.0"]


def test_a_chain_is_its_blocks_and_a_block_that_is_called_twice_is_none() -> None:
    twice = Residual(conv())
    assert names_of(network_of(Residual(conv()), Residual(conv()))) == ["1.0", "1.1"]
    assert names_of(network_of(twice, Residual(conv()), twice)) == ["1.1"]


def test_a_block_with_a_tied_weight_is_none() -> None:
    tied, other = Residual(conv()), conv()
    tied.branch.weight = other.weight
    assert names_of(network_of(tied, other, Residual(conv()))) == ["1.2"]


def test_a_block_with_two_names_goes_under_both() -> None:
    network = network_of(Residual(conv()))
    network[1].alias = network[1][0]
    network[1].forward = partial(lambda chain, x: chain.alias(x), network[1])
    assert names_of(network) == ["1.0"]
    drop_blocks(network, ["1.0"])
    assert network[1].alias is network[1][0]
    assert dropped_blocks(network) == ("1.0",)


class Reader(nn.Module):
    """Reads an attribute of one block, and gives another one more than its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(conv()) for _ in range(4))
        self.transformer = nn.TransformerEncoderLayer(4, 2, 8, norm_first=True, batch_first=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.stem(x_NCHW)
        for index, block in enumerate(self.blocks):
            if index == 1:
                assert block.branch.stride == (1, 1)
            x_NCHW = block(x_NCHW, "more", torch.ones(3)) if index == 2 else block(x_NCHW)
        return self.linear(self.transformer(x_NCHW.flatten(2).transpose(1, 2)).mean(1))


def test_a_block_that_the_network_reads_stays_and_the_others_are_found() -> None:
    torch.manual_seed(0)
    network = Reader().eval()
    before = copy.deepcopy(network.state_dict())
    blocks = find_blocks(network, torch.zeros(1, 3, 8, 8))

    assert [block.name for block in blocks] == ["blocks.0", "blocks.2", "blocks.3", "transformer"]
    assert [block.shape for block in blocks] == [(1, 4, 8, 8)] * 3 + [(1, 64, 4)]
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_network_that_takes_no_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not take images"):
        find_blocks(nn.Linear(7, 5), torch.zeros(1, 3, 8, 8))


def test_a_network_without_a_block_computes_what_it_does_with_zeros_in_its_place() -> None:
    torch.manual_seed(0)
    network, x_NCHW = own("cifar_resnet20").eval(), torch.randn(2, 3, 32, 32)
    zeroed = copy.deepcopy(network)
    for parameter in zeroed.get_submodule("layer2.1").parameters():
        nn.init.zeros_(parameter)
    drop_blocks(network, ["layer2.1"])
    with torch.no_grad():
        assert torch.equal(network(x_NCHW), zeroed(x_NCHW))


@pytest.mark.parametrize("name", ["cifar_resnet20", "mobilenet_v2", "convnext"])
def test_channels_are_removed_from_a_network_without_blocks(name: str) -> None:
    torch.manual_seed(0)
    network, x_NCHW = COUNTS[name][0]().eval(), torch.randn(1, 3, 32, 32)
    before = {group.name: group.num_channels for group in find_groups(network, x_NCHW)}
    blocks = [block.name for block in find_blocks(network, x_NCHW)]
    dropped = tuple(f"{block}." for block in blocks[::2])
    drop_blocks(network, blocks[::2])
    groups = find_groups(network, x_NCHW)

    left = {group.name: group.num_channels for group in groups}
    assert left == {name: count for name, count in before.items() if not name.startswith(dropped)}
    remove_channels(network, groups, {group.name: [0, 1] for group in groups}, x_NCHW)
    with torch.no_grad():
        assert network(x_NCHW).isfinite().all()
