"""Iterative pruning: score, remove a part, score what is left, until the share is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from ..shared.models.channels import channel_config
from ..shared.models.cost import num_filters
from .groups import find_groups
from .importance import gate_scores
from .selection import choose_channels
from .surgery import remove_channels


def prune_filters(
    network: nn.Module,
    ratio: float,
    *,
    iterations: int,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    example_NCHW: Tensor,
    progress: Callable[[], None],
) -> None:
    """Remove a share of the convolution filters, in place; no training in between.

    Args:
        ratio: share of the filters to remove, above 0 and below 1; reached to within one group of tied channels,
            unless that would leave some layer too narrow (:data:`~.selection.MIN_SHARE`).
        iterations: equal parts to remove it in.
        batches: gives the minibatches to score on, (N, C, H, W) and targets (N,), anew at each call.
        example_NCHW: one image; only its shape matters.
        progress: called after each iteration.

    Raises:
        ConfigError: the architecture cannot be pruned.
    """
    before = num_filters(network)
    original = channel_config(network)
    for iteration in range(1, iterations + 1):
        groups = find_groups(network, example_NCHW)
        gates = gate_scores(network, batches())
        to_remove = round(before * ratio * iteration / iterations) - (before - num_filters(network))
        chosen = choose_channels(groups, [group.scores(gates) for group in groups], to_remove, original=original)
        remove_channels(network, groups, chosen, example_NCHW)
        progress()
