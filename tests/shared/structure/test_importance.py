"""The Taylor score against finite differences of an explicit gate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.structure.importance import gate_scores

Batches = list[tuple[Tensor, Tensor]]


class SmallNetwork(nn.Module):
    """A convolution followed by a BatchNorm, one followed by nothing, a depthwise one, and one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.depthwise = nn.Conv2d(5, 5, 1, groups=5)
        self.bn2 = nn.BatchNorm2d(5)
        self.plain = nn.BatchNorm2d(5, affine=False)
        self.linear = nn.Linear(5, 3)
        self.auxiliary = nn.Conv2d(4, 2, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = torch.tanh(self.bn1(self.conv1(x_NCHW)))
        out = torch.tanh(self.conv2(out))
        return self.linear(self.plain(torch.tanh(self.bn2(self.depthwise(out)))).mean((2, 3)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = SmallNetwork().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return network


@pytest.fixture
def batches() -> Batches:
    noise = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(4, 3, 8, 8, generator=noise, dtype=torch.float64),
            torch.randint(3, (4,), generator=noise),
        )
        for _ in range(3)
    ]


def gate_gradient(network: nn.Module, layer: str, channel: int, batch: tuple[Tensor, Tensor]) -> float:
    """dL/dg by a central difference, where g multiplies one output channel of the layer."""
    x_NCHW, targets_N = batch
    step = 1e-5
    losses = []
    for gate in (1 + step, 1 - step):

        def scale(_module: nn.Module, _inputs: object, output: Tensor, gate: float = gate) -> Tensor:
            factors = torch.ones(output.shape[1], dtype=output.dtype)
            factors[channel] = gate
            return output * factors[:, None, None]

        handle = network.get_submodule(layer).register_forward_hook(scale)
        with torch.no_grad():
            losses.append(F.cross_entropy(network(x_NCHW), targets_N).item())
        handle.remove()
    return (losses[0] - losses[1]) / (2 * step)


@pytest.mark.parametrize("layer", ["conv1", "bn1", "conv2", "depthwise", "bn2"])
def test_score_is_the_mean_over_minibatches_of_the_squared_gate_gradient(
    network: nn.Module, batches: Batches, layer: str
) -> None:
    scores = gate_scores(network, batches)[layer]

    network.eval()
    gradients_BC = torch.tensor(
        [[gate_gradient(network, layer, c, batch) for c in range(len(scores))] for batch in batches],
        dtype=torch.float64,
    )
    torch.testing.assert_close(scores, gradients_BC.square().mean(0), rtol=1e-5, atol=1e-12)
    # The square of the averaged gradient is another number.
    assert not torch.allclose(scores, gradients_BC.mean(0).square(), rtol=1e-2, atol=0)


def test_every_gate_has_a_score_and_a_layer_that_never_runs_has_0(network: nn.Module, batches: Batches) -> None:
    scores = gate_scores(network, batches)

    assert scores.keys() == {"conv1", "bn1", "conv2", "depthwise", "bn2", "linear", "auxiliary"}
    assert all(score.dtype == torch.float64 for score in scores.values())
    assert scores["auxiliary"].tolist() == [0.0, 0.0]


def test_scoring_leaves_the_network_as_it_was(network: nn.Module, batches: Batches) -> None:
    network.requires_grad_(False)
    network.get_submodule("linear").requires_grad_(True)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    with torch.no_grad():
        gate_scores(network, batches)

    assert {n for n, p in network.named_parameters() if p.requires_grad} == {"linear.weight", "linear.bias"}
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_scores_need_images_and_a_finite_loss(network: nn.Module, batches: Batches) -> None:
    with pytest.raises(DreamError, match="no images"):
        gate_scores(network, [])
    x_NCHW, targets_N = batches[0]
    with pytest.raises(DreamError, match="not finite"):
        gate_scores(network, [(x_NCHW * torch.inf, targets_N)])
