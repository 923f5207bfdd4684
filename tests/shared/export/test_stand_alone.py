"""The Python file of a network: layers of every kind, the very keys, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.export.deployed import Deployed, largest_difference
from dreamdistill.shared.export.stand_alone import network_of, source_of, state_dict_bytes
from dreamdistill.shared.models.classifier import Classifier, load_model


def deployed_of(network: nn.Module) -> Deployed:
    torch.manual_seed(0)
    classifier = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, image_size=32, name='a"b\nc\\')
    return Deployed(classifier, normalize=False)


def built(deployed: Deployed) -> nn.Module:
    return network_of(source_of(deployed, module="m", weights="m.pth"), state_dict_bytes(deployed))


@pytest.mark.parametrize("name", ["cifar_resnet20", "mobilenet_v3_small", "densenet121", "timm/mobilenetv3_small_050"])
def test_a_real_network_is_built_again(name: str) -> None:
    classifier = load_model(name, weights="none", num_classes=5, image_size=32)
    deployed = Deployed(classifier, normalize=True)
    network = built(deployed)
    x_NCHW = deployed.probes()
    assert largest_difference(network(x_NCHW), deployed.network(x_NCHW)) == 0
    assert network.state_dict().keys() == deployed.network.state_dict().keys()
    assert all(parameter.requires_grad for parameter in network.parameters())  # it can be trained


class Odd(nn.Module):
    """A constant, a parameter of its own, attention, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale = nn.Parameter(torch.rand(8))
        self.register_buffer("shift", torch.rand(8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NTC = self.norm(self.conv(x_NCHW).flatten(2).transpose(1, 2) * self.scale + self.shift)
        x_NTC = self.norm(x_NTC + self.attention(x_NTC, x_NTC, x_NTC, need_weights=False)[0])
        return self.head(x_NTC.mean(1)) * torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_an_odd_network_is_built_again() -> None:
    deployed = deployed_of(Odd())
    network = built(deployed)
    x_NCHW = deployed.probes()
    assert largest_difference(network(x_NCHW), deployed.network(x_NCHW)) < 1e-5  # attention has two ways
    assert network.state_dict().keys() == deployed.network.state_dict().keys()


class Branching(Odd):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return super().forward(x_NCHW) if x_NCHW.sum() > 0 else super().forward(-x_NCHW)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(96, 2, batch_first=True)
        self.head = nn.Linear(96, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.layer(x_NCHW.permute(0, 2, 1, 3).flatten(2)).mean(1))


@pytest.mark.parametrize("kind", [Branching, Transformer])
def test_what_cannot_be_written_is_refused_with_what_may_work(kind: type[nn.Module]) -> None:
    with pytest.raises(ConfigError, match="--format onnx or pt2 may work"):
        source_of(deployed_of(kind()), module="m", weights="m.pth")
