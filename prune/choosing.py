"""The choice of what goes from a network: its parts are valued, and the best choice made that the budget allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..shared.models.dropped import dropped_blocks
from ..shared.structure.cut import CutNetwork
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.importance import gate_scores
from ..shared.structure.targets import Targets
from ..shared.structure.values import Values, measure_values
from .costs import NetworkCost
from .planning import PruningPlan
from .selection import Choice, select
from .units import Latency

TRIES, CLOSE = 5, 0.02  # choices of a latency at most, and the share of it by which what is left may differ


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
        dropped = dropped_blocks(cut.network)
        blocks = [block for block in plan.blocks if block not in dropped]
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
        # One measurement that is far off must not lead to a choice of nothing, which the next one may take to fit.
        target = min(target, (1 - CLOSE) * cost.total)
        choice = choice_for(target)
        left = plan.unit.share(now.without(parts.groups, choice.removed, choice.dropped).network, whole, example_NCHW)
        tried.append((abs(left / share - 1), choice))
        if tried[-1][0] <= CLOSE:
            break
        target *= share / left
    return min(tried, key=lambda each: each[0])[1]
