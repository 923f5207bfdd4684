"""The choice of the channels to remove: the least important ones of all groups together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..shared.structure.groups import ChannelGroup


def choose_channels(
    groups: Sequence[ChannelGroup],
    scores: Sequence[Tensor],
    costs: Sequence[Tensor],
    budget: int,
    *,
    floors: Mapping[str, int],
) -> dict[str, list[int]]:
    """The least important channels of all groups together whose costs sum up to ``budget``.

    The choice stops at the sum that is nearest, so it misses the budget by at most half the cost of one channel. It
    stops earlier if too few channels may be removed.

    Args:
        scores: (C,) for each group; channels with low scores are removed first.
        costs: (C,) for each group, whole numbers, from a :class:`~.budget.CostTable`.
        budget: the cost to remove, in the unit of ``costs``.
        floors: name of each group -> the channels that it keeps at least, 1 or more.

    Returns:
        Name of each group -> its channels to remove; groups that lose none are left out.
    """
    # Of channels with one score, as those of branches that do nothing yet, all groups lose the same share.
    ranked = sorted(
        (score, channel / len(group_scores), index, channel)
        for index, group_scores in enumerate(scores)
        for channel, score in enumerate(group_scores.tolist())
    )
    cost_of = [group_costs.tolist() for group_costs in costs]
    spare = [group.num_channels - floors[group.name] for group in groups]
    chosen: dict[str, list[int]] = {}
    missing = budget
    for _, _, index, channel in ranked:
        if 2 * missing < cost_of[index][channel]:  # one more would end farther from the budget
            break
        if spare[index] > 0:
            chosen.setdefault(groups[index].name, []).append(channel)
            spare[index] -= 1
            missing -= cost_of[index][channel]
    return chosen
