"""The project's own network architectures, for small images. torchvision and timm have the others.

The parameter names of the CIFAR ResNets are those that most reimplementations of He et al.'s network use
(conv1, bn1, layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}, linear). So their checkpoints load without changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def he_initialize(network: nn.Module) -> None:
    """Initialise the convolutions after He et al. 2015. torch's own initial weights are 2.4 times smaller.

    The scale of a weight before a BatchNorm changes nothing but its gradient, which grows as the weight shrinks. So
    training takes larger relative steps from smaller weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class PadShortcut(nn.Module):
    """He et al.'s option A: take every ``stride``-th pixel, and fill the additional channels with zeros.

    ``source`` (C_out, integers) is the input channel of each output channel, or -1 for zeros. So input and output
    channels can be pruned independently.
    """

    source: Tensor

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = stride
        before = (out_channels - in_channels) // 2
        source = torch.full((out_channels,), -1)
        source[before : before + in_channels] = torch.arange(in_channels)
        self.register_buffer("source", source, persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        picked = x_NCHW[:, :, :: self.stride, :: self.stride].index_select(1, self.source.clamp(min=0))
        return picked * (self.source >= 0).to(x_NCHW.dtype)[:, None, None]


class BasicBlock(nn.Module):
    """Residual block: conv-bn-relu-conv-bn plus shortcut, then relu (He et al. 2016, figure 5 left)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = (
                nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
                if projection
                else PadShortcut(in_channels, out_channels, stride)
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x_NCHW)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x_NCHW))


class SmallResNet(nn.Module):
    """A residual network for small images: a 3x3 stem without pooling, then stages. Each stage but the first halves the
    resolution.

    Args:
        blocks: number of residual blocks of each stage.
        widths: number of channels of each stage.
        projection: use 1x1 convolutions as shortcuts (option B) instead of padding (option A).
        in_channels: 1 for grey images, 3 for colour images.
    """

    def __init__(
        self, blocks: tuple[int, ...], widths: tuple[int, ...], *, projection: bool, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        self.stages: list[str] = []
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = []
            for block in range(count):
                stride = 2 if index > 1 and block == 0 else 1
                stage.append(BasicBlock(channels, width, stride, projection=projection))
                channels = width
            self.stages.append(f"layer{index}")
            self.add_module(f"layer{index}", nn.Sequential(*stage))
        self.linear = nn.Linear(channels, num_classes)
        he_initialize(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x_NCHW)))
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        return self.linear(out.mean((2, 3)))


class SmallVGG(nn.Module):
    """VGG-11 with BatchNorm for 32 px images: five pooling layers leave one pixel, then comes one linear layer."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None):
            if width is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        he_initialize(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.classifier(self.features(x_NCHW).mean((2, 3)))


def _resnet(blocks: tuple[int, ...], widths: tuple[int, ...], *, projection: bool) -> Callable[..., nn.Module]:
    def build(*, num_classes: int, in_channels: int) -> nn.Module:
        return SmallResNet(blocks, widths, projection=projection, num_classes=num_classes, in_channels=in_channels)

    return build


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One of the project's own networks: its builder and its default input (mean and std in the pixel range 0..1)."""

    build: Callable[..., nn.Module]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _digits(widths: tuple[int, ...]) -> Network:
    # Mean and standard deviation of the training part of scikit-learn's digits.
    return Network(build=_resnet((1, 1), widths, projection=True), image_size=8, mean=(0.305,), std=(0.376,))


def _cifar(build: Callable[..., nn.Module]) -> Network:
    return Network(build=build, image_size=32, mean=IMAGENET_MEAN, std=IMAGENET_STD)


NETWORKS: dict[str, Network] = {
    "digits_cnn": _digits((24, 48)),
    "digits_cnn_small": _digits((12, 24)),
    # depth = 6 n + 2
    **{f"cifar_resnet{6 * n + 2}": _cifar(_resnet((n,) * 3, (16, 32, 64), projection=False)) for n in (3, 5, 7, 9, 18)},
    "cifar_resnet18": _cifar(_resnet((2, 2, 2, 2), (64, 128, 256, 512), projection=True)),
    "cifar_resnet34": _cifar(_resnet((3, 4, 6, 3), (64, 128, 256, 512), projection=True)),
    "cifar_vgg11_bn": _cifar(SmallVGG),
}
