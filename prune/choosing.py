"""The choice of what goes from a network: its parts are valued, and the best choice made that the budget allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shared.models.cost import count_macs
from ..shared.models.dropped import dropped_blocks
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.observation import Observation, observe
from .costs import NetworkCost
from .cut import CutNetwork
from .importance import gate_scores
from .planning import PruningPlan
from .selection import Choice, select
from .units import Latency
from .values import Answers, Values, measure_values

FIT_IMAGES = 512  # of a repair by least squares, at most
FIT_PIXELS = 2**24  # of these images together, at most: all are in memory at once
VALUE_IMAGES = 24, 144  # that one part is valued on: fewest and most; a third of them after the fit to the others
VALUE_MACS = 4e9  # of a forward pass of these images, about: as many as cost this
TRIES, CLOSE = 5, 0.02  # choices of a latency at most, and the share of it by which what is left may differ
VALUE_ROWS = 2048  # samples of a layer, when a part is valued


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the whole network computes: cut networks are fitted to it and compared with it.

    Attributes:
        whole: for a repair.
        few: for a try, which is repaired for few images alone.
        unseen: its logits for other images, on which a try is valued.
    """

    whole: Observation
    few: Observation
    unseen: Answers

    @classmethod
    def of(
        cls, network: nn.Module, plan: PruningPlan, batches: Iterable[tuple[Tensor, Tensor]], example_NCHW: Tensor
    ) -> Targets:
        """For the first images of some batches."""
        x_NCHW = _first_images(batches)
        count = int(VALUE_MACS / count_macs(network, example_NCHW))
        few = min(max(count, VALUE_IMAGES[0]), VALUE_IMAGES[1], len(x_NCHW))
        fitted = few - few // 3
        return cls(
            whole=observe(network, x_NCHW, blocks=plan.blocks),
            few=observe(network, x_NCHW[:fitted], blocks=plan.blocks, rows=VALUE_ROWS),
            unseen=Answers.of(network, x_NCHW[fitted:few]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a cut network that may go, and what they are worth."""

    groups: Sequence[ChannelGroup]
    blocks: Sequence[str]
    values: Values

    @classmethod
    def of(
        cls,
        cut: CutNetwork,
        groups: Sequence[ChannelGroup],
        plan: PruningPlan,
        targets: Targets,
        batches: Iterable[tuple[Tensor, Tensor]],
    ) -> Parts:
        """Value the groups and blocks of a plan that are left.

        Args:
            groups: those of the plan, in the cut network.
            batches: for the scores of single channels.
        """
        blocks = [block for block in plan.blocks if block not in dropped_blocks(cut.network)]
        gates = gate_scores(cut.network, batches)
        values = measure_values(cut, targets.few, targets.unseen, groups, gates, floors=plan.floors, blocks=blocks)
        return cls(groups=groups, blocks=blocks, values=values)


def choose_part(
    now: CutNetwork,
    whole: nn.Module,
    plan: PruningPlan,
    parts: Parts,
    share: float,
    *,
    example_NCHW: Tensor,
) -> Choice:
    """What goes next, so that at most a share of the whole network's cost is left.

    Where the cost is measured, so is what the choice leaves, and the choice is made again with another aim, until it
    fits or :data:`TRIES` are over: then the one that comes closest is taken.

    Args:
        now: what is left so far.
        whole: what it was cut from.
        parts: of what is left.
    """
    cost = NetworkCost.of(plan.unit, now.network, example_NCHW)

    def choice_for(target: float) -> Choice:
        return select(
            parts.groups,
            parts.blocks,
            parts.values,
            cost,
            target=target,
            floors=plan.floors,
            round_to=plan.round_to,
        )

    if not isinstance(plan.unit, Latency):
        return choice_for(plan.total * share)
    left = plan.unit.share(now.network, whole, example_NCHW)
    target = cost.total * share / left
    tried: list[tuple[float, Choice]] = []
    for _ in range(TRIES):
        choice = choice_for(target)
        left = plan.unit.share(now.without(parts.groups, choice.removed, choice.dropped).network, whole, example_NCHW)
        tried.append((abs(left / share - 1), choice))
        if tried[-1][0] <= CLOSE:
            break
        target *= share / left
    return min(tried, key=lambda each: each[0])[1]


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
