"""Which channels go: the least important ones of all layers together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..shared.models.channels import ChannelConfig
from .groups import ChannelGroup

MIN_SHARE = 0.1  # of its first channels that every layer keeps: a layer of one or two channels stops learning


def choose_channels(
    groups: Sequence[ChannelGroup], scores: Sequence[Tensor], num_filters: int, *, original: ChannelConfig
) -> dict[str, list[int]]:
    """The least important channels of all groups together that hold ``num_filters`` convolution filters.

    It stops where the number is nearest, so it is met within half of the last channel's filters, unless too few
    channels may go: a group keeps :data:`MIN_SHARE` of what its first convolution had in ``original``, and at least 1.

    Args:
        scores: for each group (C,), the lower the sooner removed.
        original: the channel table of the network before any pruning.

    Returns:
        Name of the group -> its channels to remove.
    """
    ranked = sorted(
        (score, index, channel)
        for index, group_scores in enumerate(scores)
        for channel, score in enumerate(group_scores.tolist())
    )
    filters = [group.filters().tolist() for group in groups]
    spare = [group.num_channels - max(1, math.ceil(MIN_SHARE * original[group.name][0])) for group in groups]
    chosen: dict[str, list[int]] = {}
    missing = num_filters
    for _, index, channel in ranked:
        if 2 * missing < filters[index][channel]:  # one more would end farther off
            break
        if spare[index] > 0:
            chosen.setdefault(groups[index].name, []).append(channel)
            spare[index] -= 1
            missing -= filters[index][channel]
    return chosen
