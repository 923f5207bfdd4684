"""Channels out of a network: which ones can only go together, and taking them away.

The one module that knows torch-pruning. It traces the network and follows a channel through additions,
concatenations, depthwise convolutions and flattening. What it finds is checked before the network is touched: without
the channels the network must compute what it computes with zeros where they were read.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_pruning.ops import OPTYPE, module2type

from ..shared.core.errors import ConfigError
from ..shared.models.networks import PadShortcut

REFUSAL = "this architecture cannot be pruned ({reason}); distil it into a smaller student with di-distill instead"


# What the graph has between layers, and what has no width of its own.
_TRANSPARENT = frozenset(
    {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.UNBIND, OPTYPE.EXPAND, OPTYPE.SLICE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one side of one layer loses with a group's channels.

    Attributes:
        layer: its name in the network.
        side: ``in`` or ``out``; ``out`` stands for both where a layer has as many inputs as outputs, one to one.
        indices: channels of that side of the layer, and
        channels: for each of them, the group's channel that it goes with.
        gated: whether the layer's gate counts in the group's score.
        filters: whether each index is a convolution filter.
    """

    layer: str
    side: Literal["in", "out"]
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    gated: bool
    filters: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels 0..C-1, each of which leaves all the members at once.

    Attributes:
        name: the convolution that the channels are counted in; the same whenever the same network is traced.
    """

    name: str
    num_channels: int
    members: tuple[Member, ...]

    def scores(self, gate_scores: Mapping[str, Tensor]) -> Tensor:
        """(C,) float64: for each channel, the sum over the group's gates (:func:`~.importance.gate_scores`)."""
        total_C = torch.zeros(self.num_channels, dtype=torch.float64)
        for member in self.members:
            if member.gated:
                values = gate_scores[member.layer][list(member.indices)].double().cpu()
                total_C.index_add_(0, torch.tensor(member.channels), values)
        return total_C

    def filters(self) -> Tensor:
        """(C,) int64: for each channel, how many convolution filters go with it."""
        total_C = torch.zeros(self.num_channels, dtype=torch.int64)
        for member in self.members:
            if member.filters:
                total_C += torch.bincount(torch.tensor(member.channels), minlength=self.num_channels)
        return total_C


def find_groups(network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
    """The groups of channels that can be removed, in the order of their first convolution.

    Left out are channels that the logits or the image are made of, and channels that any layer takes part in which
    a channel table cannot describe (:mod:`~dreamdistill.shared.widths`): ordinary grouped convolutions, LayerNorm,
    bare parameters.

    Args:
        example_NCHW: one image; its values do not matter.

    Raises:
        ConfigError: the network cannot be traced, or no channel can be removed.
    """
    traced = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            # The tracer goes on without the widths it wanted, for minutes, and to no good end.
            warnings.filterwarnings("error", message="Maximum recursive depth reached")
            groups = list(_groups(traced, example_NCHW))
    except Exception as error:  # whatever goes wrong in there means the same to the user
        raise ConfigError(REFUSAL.format(reason="its channels cannot be traced")) from error
    if not groups:
        raise ConfigError(REFUSAL.format(reason="every channel is tied to a layer of a kind that cannot be narrowed"))
    return groups


class _PadShortcutPruner(tp.BasePruningFunc):
    """For :class:`PadShortcut`: inputs and outputs are separate dimensions, as a convolution's are."""

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> PadShortcut:
        layer.source = layer.source[_kept(len(layer.source), idxs)]
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> PadShortcut:
        renumbered = torch.full((layer.in_channels + 1,), -1)  # the last entry is what -1 looks up
        kept = _kept(layer.in_channels, idxs)
        renumbered[kept] = torch.arange(len(kept))
        layer.source = renumbered[layer.source]
        layer.in_channels = len(kept)
        return layer

    def get_out_channels(self, layer: Any) -> int:
        return len(layer.source)

    def get_in_channels(self, layer: Any) -> int:
        return layer.in_channels


_PAD_SHORTCUT = _PadShortcutPruner()


def _kept(count: int, removed: Sequence[int]) -> list[int]:
    return sorted(set(range(count)) - set(removed))


def pruner_of(module: nn.Module) -> tp.BasePruningFunc:
    return _PAD_SHORTCUT if isinstance(module, PadShortcut) else tp.PrunerBox[module2type(module)]


def _groups(network: nn.Module, example_NCHW: Tensor) -> Iterator[ChannelGroup]:
    # As a parameter the image is a node of the graph, so that what is added to it or concatenated with it is seen.
    image_NCHW = nn.Parameter(torch.zeros_like(example_NCHW, device="cpu"))
    graph = tp.DependencyGraph().build_dependency(
        network,
        example_inputs=(image_NCHW,),
        unwrapped_parameters=[(image_NCHW, 1)],  # type: ignore[arg-type]  # pairs, whatever the annotation says
        customized_pruners={PadShortcut: _PAD_SHORTCUT},
        verbose=False,
    )
    grouped: dict[str, set[int]] = {}
    names = {module: name for name, module in network.named_modules()}
    for module, name in names.items():
        if not isinstance(module, nn.Conv2d) or module not in graph.module2node:
            continue
        roots = sorted(set(range(module.out_channels)) - grouped.get(name, set()))
        if not roots:
            continue
        members: list[Member] = []
        whole = True
        for item in graph.get_pruning_group(module, pruner_of(module).prune_out_channels, roots).items:
            if item.dep.target.type in _TRANSPARENT:
                continue
            if (member := _member(item, names, roots)) is None:
                whole = False
                continue
            members.append(member)
            if member.filters:
                grouped.setdefault(member.layer, set()).update(member.indices)
        if whole:
            yield ChannelGroup(name=name, num_channels=len(roots), members=tuple(members))


def _member(item: Any, names: Mapping[nn.Module, str], roots: Sequence[int]) -> Member | None:
    """A node of the traced graph and the channels of it that a group takes, or None if it cannot lose any."""
    node = item.dep.target
    module = node.module
    if not isinstance(module, (nn.Conv2d, nn.Linear, _BatchNorm, PadShortcut)):
        return None
    pruner = pruner_of(module)
    out = item.dep.handler == pruner.prune_out_channels
    pruner.check(module, item.idxs, out)  # a split misread gives channels that the layer does not have
    is_conv = isinstance(module, nn.Conv2d)
    if is_conv and module.groups > 1 and not module.groups == module.in_channels == module.out_channels:
        return None
    if out and not node.outputs:  # these are the logits
        return None
    gated = out and (module.affine if isinstance(module, _BatchNorm) else is_conv and not _gated_behind(node))
    position = {root: channel for channel, root in enumerate(roots)}
    return Member(
        layer=names[module],
        side="out" if out else "in",
        indices=tuple(item.idxs),
        channels=tuple(position[root] for root in item.root_idxs),
        gated=gated,
        filters=is_conv and out,
    )


def _gated_behind(node: Any) -> bool:
    """Whether BatchNorms with gamma and beta, and nothing else, take this node's output.

    It is the operations that are looked at: timm's BatchNorms are modules that hold an activation too.
    """
    takers = [taker.grad_fn for taker in node.outputs]
    return all("BatchNorm" in taker.name() and taker.next_functions[1][0] is not None for taker in takers)
