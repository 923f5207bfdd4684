"""Which modules are blocks that a network can do without, and which are not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.dropped import drop_blocks, dropped_blocks
from dreamdistill.shared.structure.blocks import find_blocks


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
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.bias, 20.0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Gate(nn.Module):
    """Squeeze and excitation: it returns 0 for 0, and half of what else it takes where it has learned nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(4, 4, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW * self.fc(x_NCHW.mean((2, 3), keepdim=True)).sigmoid()


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
    "a gate behind a scale of 0": lambda: network_of(Scaled(0.0), Gate()),
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


class Aliased(nn.Sequential):
    """Calls its only block by another name than its first."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self.alias = block

    def forward(self, input: Tensor) -> Tensor:
        return self.alias(input)


def test_a_block_with_two_names_goes_under_both() -> None:
    chain = Aliased(Residual(conv()))
    assert names_of(network_of(chain)) == ["1.0.0"]
    drop_blocks(chain, ["0"])
    assert chain.alias is chain[0]
    assert dropped_blocks(chain) == ("0",)


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
