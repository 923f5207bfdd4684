"""Iterative pruning: score all channels, remove a part, score the rest, until the share is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from ..shared.structure.surgery import remove_channels
from .budget import CostTable
from .importance import gate_scores
from .planning import PruningPlan
from .selection import choose_channels


def prune_network(
    network: nn.Module,
    plan: PruningPlan,
    *,
    make_costs: Callable[[nn.Module], CostTable],
    iterations: int,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    example_NCHW: Tensor,
    report_progress: Callable[[int], None],
) -> None:
    """Remove the channels of a plan from the network that it was made for, in place. There is no training in between.

    The plan's share of the cost is met to within half the cost of one channel.

    Args:
        make_costs: the cost table of a network (:mod:`.budget`).
        iterations: equal parts in which the share is removed.
        batches: gives the minibatches to score on, (N, C, H, W) and targets (N,), again at each call.
        example_NCHW: one image; only its shape matters.
        report_progress: called after each iteration, with the number of iterations so far.

    Raises:
        ConfigError: the architecture cannot be pruned.
    """
    before = make_costs(network).total
    for iteration in range(1, iterations + 1):
        groups = plan.groups(network, example_NCHW)
        gates = gate_scores(network, batches())
        costs = make_costs(network)
        budget = round(before * plan.ratio * iteration / iterations) - (before - costs.total)
        scores = [group.scores(gates) for group in groups]
        chosen = choose_channels(groups, scores, [costs(group) for group in groups], budget, floors=plan.floors)
        remove_channels(network, groups, chosen, example_NCHW)
        report_progress(iteration)
