"""The choice of the channels to remove: the least important ones of all groups together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..shared.models.channels import ChannelConfig
from .groups import ChannelGroup

MIN_SHARE = 0.1  # of its first channels that every layer keeps: a layer of one or two channels stops learning


def choose_channels(
    groups: Sequence[ChannelGroup],
    scores: Sequence[Tensor],
    costs: Sequence[Tensor],
    budget: int,
    *,
    original: ChannelConfig,
) -> dict[str, list[int]]:
    """The least important channels of all groups together whose costs sum up to ``budget``.

    The choice stops at the sum that is nearest, so it misses the budget by at most half the cost of one channel. It
    stops earlier if too few channels may be removed: a group keeps :data:`MIN_SHARE` of the channels that its first
    convolution had in ``original``, and at least 1.

    Args:
        scores: (C,) for each group; channels with low scores are removed first.
        costs: (C,) for each group, whole numbers, from a :class:`~.budget.CostTable`.
        budget: the cost to remove, in the unit of ``costs``.
        original: channel configuration of the network before any pruning.

    Returns:
        Name of each group -> its channels to remove; groups that lose none are left out.
    """
    ranked = sorted(
        (score, index, channel)
        for index, group_scores in enumerate(scores)
        for channel, score in enumerate(group_scores.tolist())
    )
    cost_of = [group_costs.tolist() for group_costs in costs]
    spare = [group.num_channels - max(1, math.ceil(MIN_SHARE * original[group.name][0])) for group in groups]
    chosen: dict[str, list[int]] = {}
    missing = budget
    for _, index, channel in ranked:
        if 2 * missing < cost_of[index][channel]:  # one more would end farther from the budget
            break
        if spare[index] > 0:
            chosen.setdefault(groups[index].name, []).append(channel)
            spare[index] -= 1
            missing -= cost_of[index][channel]
    return chosen
