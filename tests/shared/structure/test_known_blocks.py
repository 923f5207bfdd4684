"""The residual blocks of well-known networks, counted by hand, and what can be done to a network without them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import VisionTransformer, convnext, resnet18
from torchvision.ops import FrozenBatchNorm2d

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
    "timm seresnet18": (partial(timm, "seresnet18"), 2 + 1 + 1 + 1),
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
