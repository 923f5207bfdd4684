"""Heads of all kinds get more outputs: the old logits stay, and the new ones can be learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.distill.extend.widening import widen
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.architectures import find_architecture
from dreamdistill.shared.models.networks import NETWORKS

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Pooled(nn.Module):
    """A 1x1 convolution, then the mean over the pixels, as in SqueezeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.same_width = nn.Conv2d(3, 7, 3, padding=1)  # has as many outputs as there are classes, and is no head
        self.head = nn.Conv2d(7, 7, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.same_width(x_NCHW)).relu().mean((2, 3))


class TwoHeads(nn.Module):
    """The mean of two linear layers, as in distilled vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 7), nn.Linear(3, 7, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return (self.one(x_NCHW.mean((2, 3))) + self.other(x_NCHW.amax((2, 3)))) / 2


class Hidden(nn.Module):
    """A hidden layer has as many outputs as the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.hidden = nn.Linear(7, 7), nn.Linear(3, 7)  # defined in another order than they run

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.hidden(x_NCHW.mean((2, 3))).relu())


@pytest.mark.parametrize(
    ("network", "head"), [(Pooled(), ("head",)), (TwoHeads(), ("other", "one")), (Hidden(), ("head",))]
)
def test_the_head_is_found_by_trial(network: nn.Module, head: tuple[str, ...]) -> None:
    network.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    wider, found = widen(network, 4, X)
    assert found == head
    logits = wider(X)
    torch.testing.assert_close(logits[:, :7], network(X))
    assert torch.equal(logits[:, 7:], torch.zeros(2, 4))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_new_outputs_learn_from_the_first_step_on() -> None:
    network = Hidden().eval()
    wider, _ = widen(network, 2, X)
    nn.functional.cross_entropy(wider.requires_grad_(True)(X), torch.tensor([7, 8])).backward()
    gradient = wider.get_submodule("head").weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient[7].abs().max() > 0
    assert not torch.equal(gradient[7], gradient[8])


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "timm/resnet10t",
        "timm/deit_tiny_distilled_patch16_224",
    ],
)
def test_networks_of_libraries(name: str) -> None:
    network = find_architecture(name).network(6, 3, seed=0).eval()
    x_NCHW = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wider, _ = widen(network, 3, x_NCHW)
        torch.testing.assert_close(wider(x_NCHW)[:, :6], network(x_NCHW))
    # The architecture itself, built for so many classes, takes the weights.
    find_architecture(name).network(9, 3, seed=1).load_state_dict(wider.state_dict())


def test_a_network_without_such_a_head_is_refused() -> None:
    convolution = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(ConfigError, match="no linear layer or 1x1 convolution"):
        widen(network, 2, X)


def test_a_network_may_be_widened_again() -> None:
    network = NETWORKS["digits_cnn"].build(num_classes=2, in_channels=1).eval()
    x_NCHW = torch.randn(3, 1, 8, 8)
    once, _ = widen(network, 2, x_NCHW)
    twice, head = widen(once, 3, x_NCHW)
    assert head == ("linear",)
    assert twice(x_NCHW).shape == (3, 7)
    torch.testing.assert_close(twice(x_NCHW)[:, :2], network(x_NCHW))
