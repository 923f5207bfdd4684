"""The choice of what goes: the channels and blocks that are worth least, so that what is left costs what it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..shared.models.dropped import is_part
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.values import Values
from .costs import NetworkCost
from .knapsack import Option, Part, choose

WIDTHS = 64  # of a group that are looked at, at most
ROUNDS = 12  # of the choice, until its true cost fits
CLOSE = 0.002  # share of the cost that a choice may leave unused


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What goes.

    Attributes:
        removed: name of each group that is narrowed -> its channels to remove.
        dropped: names of blocks.
        left: the cost of what is left, as it is foretold.
    """

    removed: Mapping[str, tuple[int, ...]]
    dropped: tuple[str, ...]
    left: float

    def fits(self, groups: Sequence[ChannelGroup], blocks: Sequence[str]) -> bool:
        """Whether it can be made of a network that has these groups and blocks."""
        sizes = {group.name: group.num_channels for group in groups}
        return {*self.dropped} <= {*blocks} and all(
            len({*channels}) == len(channels) < sizes.get(name, 0) and {*channels} <= {*range(sizes[name])}
            for name, channels in self.removed.items()
        )


def select(
    groups: Sequence[ChannelGroup],
    blocks: Sequence[str],
    values: Values,
    cost: NetworkCost,
    *,
    target: float,
    floors: Mapping[str, int],
    round_to: int = 1,
) -> Choice:
    """The choice of least loss that leaves at most the target.

    The knapsack takes savings as sums, as if all else stayed whole. What two parts save together is not quite that, so
    the choice is repeated with another sum until its true cost fits.

    Args:
        groups, blocks: that may be narrowed, and dropped.
        cost: of the network as it is.
        target: the cost that may be left.
        floors: group -> the channels that it keeps at least.
        round_to: the channels that a narrowed layer has are a multiple of this.
    """
    widths = {group.name: narrowings(group, floors[group.name], round_to) for group in groups}
    parts: list[Part] = []
    members: list[tuple[str | None, list[ChannelGroup]]] = _by_block(groups, blocks)
    for block, inner in members:
        classes = [
            [
                Option(
                    # A narrower layer may be measured to take longer.
                    saved=max(0.0, cost.saved(groups, {group.name: values.order[group.name][:count]})),
                    lost=float(values.channels[group.name][count]),
                )
                for count in widths[group.name]
            ]
            for group in inner
        ]
        without = (
            None
            if block is None
            else Option(saved=max(0.0, cost.saved(groups, {}, [block])), lost=values.blocks[block])
        )
        parts.append(Part(classes=classes, without=without))

    def choice(needed: float) -> Choice | None:
        chosen = choose(parts, needed)
        if chosen is None:
            return None
        removed: dict[str, tuple[int, ...]] = {}
        dropped: list[str] = []
        for (block, inner), indices in zip(members, chosen, strict=True):
            if indices is None and block is not None:
                dropped.append(block)
            for group, index in zip(inner, indices or (), strict=False):
                if count := widths[group.name][index]:
                    removed[group.name] = tuple(values.order[group.name][:count])
        return Choice(removed=removed, dropped=tuple(dropped), left=cost.left(groups, removed, dropped))

    needed, low, high = cost.total - target, 0.0, float("inf")
    if needed <= 0:
        return Choice(removed={}, dropped=(), left=cost.total)
    best: Choice | None = None
    for _ in range(ROUNDS):
        found = choice(needed)
        if found is not None and found.left > target:
            low = needed
            step = needed + 2 * (found.left - target) + CLOSE * cost.total
        else:
            high = needed
            step = low
            if found is not None:
                best = found if best is None or found.left >= best.left else best
                step = needed + (found.left - target)
                if target - best.left <= CLOSE * cost.total:
                    break
        needed = step if low < step < high else (low + high) / 2
    if best is None:
        best = _everything(groups, blocks, values, cost, widths)
    return _refilled(best, groups, values, cost, target, widths)


def least_left(
    groups: Sequence[ChannelGroup], blocks: Sequence[str], cost: NetworkCost, floors: Mapping[str, int]
) -> float:
    """The cost of what is left if all goes that may."""
    removed = {group.name: range(group.num_channels - floors[group.name]) for group in groups}
    return cost.left(groups, removed, blocks)


def _refilled(
    choice: Choice,
    groups: Sequence[ChannelGroup],
    values: Values,
    cost: NetworkCost,
    target: float,
    widths: Mapping[str, Sequence[int]],
) -> Choice:
    """The choice without what goes in vain: the most valuable part that still fits is given back, and again."""
    while True:
        fuller: list[tuple[float, Choice]] = []
        for name, channels in choice.removed.items():
            count = widths[name][widths[name].index(len(channels)) - 1]
            others = {other: gone for other, gone in choice.removed.items() if other != name}
            removed = {**others, name: channels[:count]} if count else others
            gained = float(values.channels[name][len(channels)] - values.channels[name][count])
            left = cost.left(groups, removed, choice.dropped)
            fuller.append((gained, Choice(removed=removed, dropped=choice.dropped, left=left)))
        for block in choice.dropped:
            dropped = tuple(other for other in choice.dropped if other != block)
            left = cost.left(groups, choice.removed, dropped)
            fuller.append((values.blocks[block], Choice(removed=choice.removed, dropped=dropped, left=left)))
        fitting = [each for each in fuller if each[1].left <= target]
        if not fitting:
            return choice
        choice = max(fitting, key=lambda each: each[0])[1]


def _everything(
    groups: Sequence[ChannelGroup],
    blocks: Sequence[str],
    values: Values,
    cost: NetworkCost,
    widths: Mapping[str, Sequence[int]],
) -> Choice:
    removed = {group.name: tuple(values.order[group.name][: widths[group.name][-1]]) for group in groups}
    inner = {g.name for block, own in _by_block(groups, blocks) if block is not None for g in own}
    removed = {name: channels for name, channels in removed.items() if channels and name not in inner}
    return Choice(removed=removed, dropped=tuple(blocks), left=cost.left(groups, removed, blocks))


def _by_block(groups: Sequence[ChannelGroup], blocks: Sequence[str]) -> list[tuple[str | None, list[ChannelGroup]]]:
    """Each block with the groups that lie in it alone, then the others, each by itself."""
    own = {block: [g for g in groups if all(is_part(m.layer, [block]) for m in g.members)] for block in blocks}
    inner = {group.name for each in own.values() for group in each}
    return [*own.items(), *((None, [group]) for group in groups if group.name not in inner)]


def narrowings(group: ChannelGroup, floor: int, round_to: int) -> list[int]:
    """The numbers of channels that may be removed, 0 first, then the fewest: at most :data:`WIDTHS` or a few more.

    Args:
        floor: the channels that stay at least.
        round_to: the channels that a narrowed layer has are a multiple of this.
    """
    most = group.num_channels - floor
    outputs = next(len(m.indices) for m in group.members if m.layer == group.name and m.side == "out")
    each = outputs / group.num_channels  # of the layer's outputs that a channel of the group stands for
    counts = [n for n in range(1, most + 1) if round((group.num_channels - n) * each) % round_to == 0]
    return sorted({0, *counts[:: max(1, -(-len(counts) // WIDTHS))], *counts[-1:]})
