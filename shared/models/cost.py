"""Cost of a network: convolution filters, parameters, multiply-adds and measured latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .features import last_linear

# Multiply-adds of forward passes that a core, or an H100, does in a second of eager steps, forward and backward
# (measured, docs/performance.md).
MACS_PER_SECOND = {"cpu": 15e9, "cuda": 5e12}
PATIENCE = 2.0  # seconds that a dry run takes to time steps
WARM_UP_ROUNDS = 3  # not timed: cuDNN chooses its kernels, caches fill, and clock rates settle


def num_filters(network: nn.Module) -> int:
    """Number of filters: outputs of 2-d convolutions, and of linear layers but the last one, whose outputs are logits.

    A pruning ratio is a share of this number.
    """
    last = last_linear(network)
    hidden = [each.out_features for each in network.modules() if isinstance(each, nn.Linear) and each is not last]
    return sum(module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)) + sum(hidden)


def num_parameters(network: nn.Module) -> int:
    """Number of elements of all parameters, without BatchNorm's running statistics."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def count_macs(network: nn.Module, example_NCHW: Tensor) -> int:
    """Multiply-adds of one forward pass in convolutions and matrix products, for the whole batch: pass one image.

    torch counts a multiply-add as two operations, so this is half of its figure. Puts the network in eval mode.
    """
    network.eval()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:  # the counter fails where one is the input of a module, as a class token may be
        parameter.requires_grad_(False)
    try:
        with FlopCounterMode(display=False) as counter:
            network(example_NCHW)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2


@torch.no_grad()
def paired_latency_ms(
    networks: Sequence[Callable[[Tensor], object]], example_NCHW: Tensor, *, rounds: int = 30
) -> list[float]:
    """Median milliseconds of one forward pass of the given batch, for each network.

    The networks take turns in every round. So a machine that slows down or has other work affects all of them alike.
    Compare only figures of the same call. Puts modules in eval mode.

    Args:
        networks: all on the example's device; modules, or other calls that take the batch.
        rounds: number of timed forward passes of each network, 1 or more; a few that are not timed come before them.
    """
    for network in networks:
        if isinstance(network, nn.Module):
            network.eval()
    calls = [lambda network=network: network(example_NCHW) for network in networks]
    return [seconds * 1e3 for seconds in paired_seconds(calls, device=example_NCHW.device, rounds=rounds)]


def paired_seconds(calls: Sequence[Callable[[], object]], *, device: torch.device, rounds: int) -> list[float]:
    """Median seconds of each call, measured by :func:`paired_rounds`."""
    return paired_rounds(calls, device=device, rounds=rounds).quantile(0.5, dim=0).tolist()


def paired_rounds(calls: Sequence[Callable[[], object]], *, device: torch.device, rounds: int) -> Tensor:
    """Seconds of each call in each round, float64 (rounds, calls). The calls take turns: see :func:`paired_latency_ms`.

    Args:
        device: where the calls compute; it is synchronised before and after each call.
    """
    times = torch.empty(rounds, len(calls), dtype=torch.float64)
    for round_index in range(-WARM_UP_ROUNDS, rounds):
        for column, call in enumerate(calls):
            _synchronize(device)
            start = time.perf_counter()
            call()
            _synchronize(device)
            if round_index >= 0:
                times[round_index, column] = time.perf_counter() - start
    return times


def seconds_for(
    call: Callable[[int], float],
    images: int,
    *,
    least: int,
    smallest: float,
    guess: float,
    device: torch.device,
) -> float:
    """What ``call(images)`` would return, found in about :data:`PATIENCE` seconds.

    Where so many images would take longer, it is extrapolated from as many as do not.

    Args:
        call: works on so many images, and returns seconds that grow with their number.
        least: fewest images that it works on, at most ``images``.
        smallest: seconds that ``call(least)`` works, by multiply-adds.
        guess: what is returned where that is too long.
        device: where the work is done. On a GPU the first call of all loads libraries and kernels, for seconds.
    """
    if 4 * smallest > PATIENCE:
        return guess
    if device.type == "cuda":
        call(least)
    count, started = least, time.monotonic()
    deadline = started + PATIENCE
    seconds = call(least)
    if 2 * (time.monotonic() - started) > PATIENCE:  # on a busy machine; else it was to warm up
        return seconds * images / least
    while True:
        started = time.monotonic()
        seconds = call(count)
        more = min(images, 4 * count)
        now = time.monotonic()
        if count == images or now + (now - started) * more / count > deadline:
            return seconds * images / count
        count = more


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
