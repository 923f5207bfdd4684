"""What a network loses with each of its parts: how far its answers move when the part is gone and the rest repaired.

The unit is the same for channels and blocks: the mean squared change of the logits, as a share of their variance, after
a repair by least squares. It is measured for one width of a group of channels, and follows the Taylor scores between
widths (Molchanov et al. 2019). Of many groups and blocks, some are measured and tell the scale of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .cut import CutNetwork
from .groups import ChannelGroup
from .hooked import Hooked
from .observation import Observation

GROUPS = 16  # of one kind, streams or others, that are measured at most
BLOCKS = 12  # that are measured at most: those that change their input least
TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a network loses, in units of the variance of its logits.

    Attributes:
        order: group -> its channels, the least important ones first.
        channels: group -> (channels + 1,) the loss without so many of them.
        blocks: block -> the loss without it.
    """

    order: Mapping[str, list[int]]
    channels: Mapping[str, np.ndarray]
    blocks: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the whole network answers, to compare with.

    Attributes:
        x_NCHW: network input.
        logits_NK: for it.
    """

    x_NCHW: Tensor
    logits_NK: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, whole: nn.Module, x_NCHW: Tensor) -> Answers:
        return cls(x_NCHW=x_NCHW, logits_NK=whole(x_NCHW))

    @torch.no_grad()
    def change(self, network: nn.Module) -> float:
        """The mean squared difference of a network's logits from these, as a share of their variance."""
        squares_NK = (network.eval()(self.x_NCHW) - self.logits_NK).square()
        return float(squares_NK.mean() / self.logits_NK.var().clamp_min(TINY))


def measure_values(
    cut: CutNetwork,
    whole: Observation,
    answers: Answers,
    groups: Sequence[ChannelGroup],
    gates: Mapping[str, Tensor],
    *,
    floors: Mapping[str, int],
    blocks: Sequence[str],
) -> Values:
    """What the network would lose with each of its groups and blocks, beyond what it has lost already.

    Args:
        whole: of the network that it was cut from; each try is fitted to it.
        answers: of that network to other images, for which a try is valued: with as many unknowns as numbers, every
            try would fit the first ones.
        groups: those of the cut network that may be narrowed.
        gates: :func:`~.importance.gate_scores` of the cut network.
        floors: group -> the channels that it keeps at least.
        blocks: names of those that may go.
    """
    fitted = cut.copy()
    fitted.fit(whole)  # to these few images, as all that is compared with it
    before = answers.change(fitted.network)

    def loss(removed: Mapping[str, Sequence[int]], dropped: Sequence[str]) -> float:
        tried = cut.without(groups, removed, dropped)
        tried.fit(whole)
        return max(TINY, answers.change(tried.network) - before)

    scores = {group.name: group.scores(gates).sort(stable=True) for group in groups}
    order = {name: found.indices.tolist() for name, found in scores.items()}
    sums = {name: np.concatenate([[0.0], found.values.cumsum(0).numpy()]) for name, found in scores.items()}
    channels: dict[str, np.ndarray] = {}
    for is_stream in (False, True):
        same = [group for group in groups if group.is_stream == is_stream]
        points: dict[int, float] = {}
        for place in _spread(len(same), GROUPS):
            group = same[place]
            count = min(group.num_channels // 2, group.num_channels - floors[group.name])
            if count > 0 and sums[group.name][count] > 0:
                points[place] = loss({group.name: order[group.name][:count]}, ()) / sums[group.name][count]
        for place, group in enumerate(same):
            channels[group.name] = _between(points, place) * sums[group.name]
    influence = _influence(cut.network, whole.x_NCHW, blocks)
    least = sorted(influence, key=lambda block: influence[block])[:BLOCKS]
    measured = {block: loss({}, [block]) for block in least}
    scale = float(np.median([measured[block] / max(TINY, influence[block]) for block in least])) if least else 0.0
    return Values(
        order=order,
        channels=channels,
        blocks={block: measured.get(block, scale * influence[block]) for block in blocks},
    )


def _spread(count: int, most: int) -> list[int]:
    """At most so many places of a list, evenly spread."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []


def _between(points: Mapping[int, float], place: int) -> float:
    """The value at a place, between the logarithms of the measured ones; 1 where nothing was measured."""
    if not points:
        return 1.0
    places = sorted(points)
    return float(np.exp(np.interp(place, places, [np.log(points[each]) for each in places])))


@torch.no_grad()
def _influence(network: nn.Module, x_NCHW: Tensor, blocks: Iterable[str]) -> dict[str, float]:
    """Block -> the mean squared change that it makes to its input, as a share of its output's mean square."""
    found: dict[str, float] = {}
    hooked = Hooked(network)

    def look(name: str, _module: nn.Module, inputs: Any, out: Tensor) -> None:
        found[name] = float((out - inputs[0]).square().mean() / out.square().mean().clamp_min(TINY))

    for name in blocks:
        hooked.after(name, look)
    hooked.run(x_NCHW)
    return found
