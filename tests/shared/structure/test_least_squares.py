"""Least squares against a plain float64 reference, and what it repairs."""

from __future__ import annotations

import copy

import pytest
import torch
from random_networks import resnet20_of
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.groups import find_groups
from dreamdistill.shared.structure.least_squares import fit_layers
from dreamdistill.shared.structure.linear_fit import RIDGE, solve
from dreamdistill.shared.structure.observation import observe
from dreamdistill.shared.structure.samples import Samples, computed_of, patches

X_NCHW = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(6, 8, (3, 1), padding="same", dilation=2),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 4, 3, groups=2, padding_mode="reflect", padding=2),
        nn.Conv2d(6, 5, 1),
    ],
    ids=str,
)
@torch.no_grad()
def test_patches_explain_what_a_convolution_computes(layer: nn.Conv2d) -> None:
    x_NCHW = torch.randn(3, 6, 9, 7)
    out = layer(x_NCHW)
    samples = Samples(60, 0)
    columns = patches(layer, x_NCHW, samples, samples.of(layer, out))
    assert columns is not None
    torch.testing.assert_close(computed_of(layer, columns), samples.of(layer, out).flatten(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_layer_that_computes_something_else_is_left_alone() -> None:
    class Odd(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    layer, x_NCHW, samples = Odd(4, 4, 3, padding=1), torch.randn(2, 4, 8, 8), Samples(32, 0)
    assert patches(layer, x_NCHW, samples, samples.of(layer, layer(x_NCHW))) is None


@torch.no_grad()
def test_a_fit_is_ridge_regression_on_centred_data() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Conv2d(5, 3, 1, bias=False), nn.BatchNorm2d(3)
    p, y = torch.randn(200, 5) + 2, torch.randn(200, 3) - 1
    before, mean = layer.weight.flatten(1).double().clone(), norm.running_mean.clone()  # type: ignore[union-attr]

    missed = solve(layer, p[:, None], y, ridge=RIDGE, norm=norm)

    centred_p, centred_y = p.double() - p.double().mean(0), y.double() - y.double().mean(0)
    amount = RIDGE * (centred_p.T @ centred_p).diagonal().mean()
    # The same by a stacked system: rows of sqrt(r) for the pull towards the old weights.
    rows = torch.cat([centred_p, amount.sqrt() * torch.eye(5).double()])
    targets = torch.cat([centred_y, amount.sqrt() * before.T])
    expected = torch.linalg.lstsq(rows, targets).solution
    torch.testing.assert_close(layer.weight.flatten(1).double().T, expected, atol=1e-6, rtol=1e-5)
    left = y.double().mean(0) - p.double().mean(0) @ expected
    torch.testing.assert_close(norm.running_mean, mean - left.float(), atol=1e-5, rtol=1e-5)
    residual = centred_y - centred_p @ expected
    assert missed == pytest.approx(float(residual.square().sum() / centred_y.square().sum()), rel=1e-4)


@pytest.mark.timeout(60)
@torch.no_grad()
def test_a_grouped_convolution_of_many_inputs_is_fitted_by_several_threads() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    layer = nn.Conv2d(1200, 4, 1, groups=2)
    p, wanted = torch.randn(1500, 2, 600), torch.randn(2, 600, 2)
    y = torch.einsum("sgd,gdo->sgo", p, wanted).flatten(1)
    assert solve(layer, p, y, ridge=1e-6) < 1e-9
    torch.testing.assert_close(layer.weight, wanted.transpose(1, 2).reshape(4, 600, 1, 1), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_network_that_lost_nothing_stays_as_it_is() -> None:
    network = resnet20_of(X_NCHW)
    before = copy.deepcopy(network.state_dict())
    missed = fit_layers(network, observe(network, X_NCHW, blocks=["layer1.0", "layer1.1"]), {})
    assert missed == {}
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def error(network: nn.Module, whole: nn.Module) -> float:
    with torch.no_grad():
        return float(F.mse_loss(network(X_NCHW), whole(X_NCHW)))


@pytest.mark.parametrize("dropped", [(), ("layer1.1", "layer2.1", "layer2.2")])
def test_what_was_cut_is_made_up_for(dropped: tuple[str, ...]) -> None:
    whole = resnet20_of(X_NCHW)
    groups = find_groups(whole, X_NCHW[:1])
    removed = {g.name: list(range(0, g.num_channels, 2)) for g in groups if not g.is_stream}
    cut = CutNetwork.of(whole).without(groups, removed, dropped)
    before = error(cut.network, whole)
    blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(3) if stage == 1 or i]
    seen = observe(whole, X_NCHW, blocks=blocks)
    cut.fit(seen)
    after = error(cut.network, whole)
    assert after < 0.35 * before

    # A second fit begins where the first one did: it does not count the means twice.
    cut.fit(seen)
    assert error(cut.network, whole) < 1.2 * after


@torch.no_grad()
def test_a_layer_that_runs_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared, self.head = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x_NCHW: Tensor) -> Tensor:
            return self.head(self.shared(self.shared(self.first(x_NCHW.mean((2, 3)).repeat(1, 8)[:, :8])).relu()))

    torch.manual_seed(0)
    whole = Twice().eval()
    seen = observe(whole, X_NCHW)
    assert "shared" not in seen.outputs
    assert {"first", "head"} <= set(seen.outputs)


class Gated(nn.Module):
    """A block whose last layer to run is a gate of another shape than the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = self.conv(x_NCHW)
        return x_NCHW + out * self.gate(out.mean((2, 3), keepdim=True)).sigmoid()


class Halves(nn.Module):
    """A block whose last layer to run writes half of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        half = self.first(x_NCHW)
        return x_NCHW + torch.cat([half, self.second(half)], 1)


class Windows(nn.Module):
    """A block whose convolution sees the four quarters of an image as images of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        quarters = torch.cat([half for row in x_NCHW.chunk(2, 2) for half in row.chunk(2, 3)])
        a, b, c, d = self.conv(quarters).chunk(4)
        return x_NCHW + torch.cat([torch.cat([a, b], 3), torch.cat([c, d], 3)], 2)


@pytest.mark.parametrize("block", [Gated, Halves, Windows])
def test_blocks_whose_layers_write_other_shapes_than_the_block(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), block(), nn.ReLU(), block(), nn.Flatten(), nn.Linear(1536, 4))
    seen = observe(whole.eval(), X_NCHW, blocks=["1", "3"], rows=960)
    cut = CutNetwork.of(whole)
    first = cut.network.get_submodule("0")
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight[0] = 0  # what is cut ahead of the blocks
    before = error(cut.network, whole)
    cut.fit(seen)
    assert error(cut.network, whole) < before
