"""Filters, parameters and multiply-adds against a count by hand, and how latency is measured."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.shared.models import cost

CPU = torch.device("cpu")


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def test_filters_parameters_and_macs_match_a_count_by_hand() -> None:
    network = small_network()

    assert cost.num_filters(network) == 16
    assert cost.num_parameters(network) == 8 * 27 + 2 * 8 + (8 * 9 + 8) + (8 * 5 + 5)
    macs = 8 * 27 * 36 + 8 * 9 * 36 + 8 * 5
    assert cost.count_macs(network, torch.zeros(1, 3, 6, 6)) == macs
    assert cost.count_macs(network, torch.zeros(4, 3, 6, 6)) == 4 * macs


def test_multiply_adds_of_a_network_that_hands_a_parameter_to_a_module() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.linear = nn.Parameter(torch.ones(1, 3)), nn.Linear(3, 2)

        def forward(self, x_NCHW: Tensor) -> Tensor:
            return self.linear(self.token.expand(len(x_NCHW), -1)) + x_NCHW.mean((1, 2, 3))[:, None]

    network = Token()
    network.linear.weight.requires_grad_(False)
    assert cost.count_macs(network, torch.zeros(1, 3, 4, 4)) == 6
    assert [p.requires_grad for p in network.parameters()] == [True, False, True]


class Recorder(nn.Module):
    """Records its calls in a common list, and takes a given time."""

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls

    def forward(self, x_NCHW: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.calls.append(self.name)
        time.sleep(self.seconds)
        return x_NCHW


def test_latency_is_in_milliseconds_and_networks_take_turns() -> None:
    calls: list[str] = []
    networks = [Recorder("slow", 0.02, calls), Recorder("fast", 0.0, calls)]

    slow, fast = cost.paired_latency_ms(networks, torch.zeros(1, 3, 2, 2), rounds=5)

    assert calls == ["slow", "fast"] * (5 + cost.WARM_UP_ROUNDS)
    assert slow == pytest.approx(20, rel=0.5)
    assert fast < slow


# What a dry run times


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only element."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("an_image", "sizes"),
    [(1e-4, [1, 1, 4, 16, 64, 84]), (0.08, [1, 1, 4, 16]), (0.7, [1, 1]), (2.0, [1])],
    ids=["quick", "slow", "slower", "on a busy machine"],
)
def test_as_many_images_are_timed_as_take_a_few_seconds(
    an_image: float, sizes: list[int], seconds: list[float]
) -> None:
    worked: list[int] = []

    def work(images: int) -> float:
        worked.append(images)
        seconds[0] += images * an_image
        return images * an_image * 1000  # of a thousand steps

    assert cost.seconds_for(work, 84, least=1, smallest=0.5, guess=7.0, device=CPU) == pytest.approx(
        84 * an_image * 1000
    )
    assert worked == sizes
    assert seconds[0] <= cost.PATIENCE


def test_the_first_call_on_a_gpu_loads_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(cost.time, "monotonic", lambda: now[0])
    loading = [60.0]

    def work(images: int) -> float:
        seconds = 0.001 * images + (loading.pop() if loading else 0.0)
        now[0] += seconds
        return seconds

    gpu = torch.device("cuda")
    found = cost.seconds_for(work, 84, least=2, smallest=0.001, guess=7.0, device=gpu)
    assert found == pytest.approx(0.084)


def test_nothing_is_timed_that_takes_too_long() -> None:
    def work(images: int) -> float:
        raise AssertionError("it would take too long")

    assert cost.seconds_for(work, 84, least=1, smallest=cost.PATIENCE, guess=7.0, device=CPU) == 7.0
