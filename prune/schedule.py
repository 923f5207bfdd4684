"""Pruning in bites: value all parts of a network, remove some, repair the rest by least squares, and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shared.models.cost import count_macs
from ..shared.models.dropped import dropped_blocks
from ..shared.structure.observation import observe
from .costs import NetworkCost
from .cut import CutNetwork
from .importance import gate_scores
from .planning import PruningPlan
from .selection import select
from .values import Answers, measure_values

FIT_IMAGES = 512  # of a repair by least squares, at most
FIT_PIXELS = 2**24  # of these images together, at most: all are in memory at once
VALUE_IMAGES = 24, 144  # that one part is valued on: fewest and most; a third of them after the fit to the others
VALUE_MACS = 4e9  # of a forward pass of these images, about: as many as cost this
VALUE_ROWS = 2048  # samples of a layer, when a part is valued


@dataclass(frozen=True, slots=True, kw_only=True)
class Bite:
    """One iteration of the pruning.

    Attributes:
        cut: before its repair.
        fitted: after its repair by least squares.
    """

    cut: CutNetwork
    fitted: CutNetwork


def prune_network(
    network: nn.Module,
    plan: PruningPlan,
    *,
    iterations: int,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    example_NCHW: Tensor,
    round_to: int,
    report_progress: Callable[[int], None],
) -> Bite:
    """Remove what a plan says from a copy of the network that it was made for. There is no training in between.

    Args:
        network: in eval mode. It is left as it is.
        iterations: bites, each of which leaves the same share of the cost before it.
        batches: gives the minibatches to value on, (N, C, H, W) and targets (N,), again at each call.
        example_NCHW: one image; only its shape matters.
        round_to: narrowed layers have a multiple of this many channels.
        report_progress: called after each iteration, with the number of iterations so far.

    Returns:
        The last one.

    Raises:
        ConfigError: the architecture cannot be pruned.
    """
    x_NCHW = _first_images(batches())
    count = int(VALUE_MACS / count_macs(network, example_NCHW))
    few = min(max(count, VALUE_IMAGES[0]), VALUE_IMAGES[1], len(x_NCHW))
    whole = observe(network, x_NCHW, blocks=plan.blocks)
    small = observe(network, x_NCHW[: few - few // 3], blocks=plan.blocks, rows=VALUE_ROWS)
    unseen = Answers.of(network, x_NCHW[few - few // 3 : few])
    now, cut = CutNetwork.of(network), CutNetwork.of(network)
    for iteration in range(1, iterations + 1):
        groups = plan.groups(now.network, example_NCHW) if plan.floors else []
        blocks = [block for block in plan.blocks if block not in dropped_blocks(now.network)]
        gates = gate_scores(now.network, batches())
        choice = select(
            groups,
            blocks,
            measure_values(now, small, unseen, groups, gates, floors=plan.floors, blocks=blocks),
            NetworkCost.of(plan.budget.option, now.network, example_NCHW),
            target=max(plan.target, plan.total * plan.budget.left ** (iteration / iterations)),
            floors=plan.floors,
            round_to=round_to,
        )
        cut = now.without(groups, choice.removed, choice.dropped, example_NCHW=example_NCHW)
        now = cut.copy()
        now.fit(whole)
        report_progress(iteration)
    return Bite(cut=cut, fitted=now)


def _first_images(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    found: list[Tensor] = []
    count = 0
    for x_NCHW, _ in batches:
        most = min(FIT_IMAGES, max(2, FIT_PIXELS // (x_NCHW.shape[2] * x_NCHW.shape[3])))
        found.append(x_NCHW[: most - count])
        count += len(found[-1])
        if count >= most:
            break
    return torch.cat(found)
