"""Groups of channels that can only be removed together, and the removal of channels from one layer.

The one module that knows torch-pruning, which traces a network and follows each channel through additions,
concatenations, depthwise convolutions and flattening. Nothing here checks what the tracer found; :mod:`.surgery` does.
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

Side = Literal["in", "out"]
REFUSAL = "this architecture cannot be pruned ({reason}); distil it into a smaller student with di-distill instead"

# Nodes of the graph that stand between layers, and have no channels of their own.
_TRANSPARENT = frozenset(
    {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.UNBIND, OPTYPE.EXPAND, OPTYPE.SLICE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The part of a group that lies on one side of one layer.

    Attributes:
        layer: its name in the network.
        side: ``in`` or ``out``. A BatchNorm or depthwise convolution, whose inputs and outputs are the same channels,
            has ``out`` alone.
        indices: channels of that side of the layer.
        channels: for each of the indices, the group's channel that it belongs to.
        gated: whether the gate of the layer counts in the group's score.
    """

    layer: str
    side: Side
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    gated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels 0..C-1, each of which is removed from all members at once.

    Attributes:
        name: the convolution whose outputs the channels are; the same whenever the same network is traced.
        num_channels: C.
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


def find_groups(network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
    """The groups of channels that can be removed, in the order of their first convolution.

    Excluded are the channels of the logits and of the image, and channels that belong to a layer which a channel
    configuration cannot describe (:mod:`~dreamdistill.shared.models.channels`): ordinary grouped convolutions,
    LayerNorm, bare parameters.

    Args:
        example_NCHW: one image; its values do not matter.

    Raises:
        ConfigError: the network cannot be traced, or no channel can be removed.
    """
    traced = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            # After this warning the tracer goes on for minutes without what it needs, and then fails.
            warnings.filterwarnings("error", message="Maximum recursive depth reached")
            groups = list(_groups(traced, example_NCHW))
    except Exception as error:  # any failure of the tracer means the same to the user
        raise ConfigError(REFUSAL.format(reason="its channels cannot be traced")) from error
    if not groups:
        raise ConfigError(REFUSAL.format(reason="every channel is tied to a layer of a kind that cannot be narrowed"))
    return groups


class _PadShortcutPruner(tp.BasePruningFunc):
    """For :class:`PadShortcut`, whose inputs and outputs are separate channels, as a convolution's are."""

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> PadShortcut:
        layer.source = layer.source[_kept(len(layer.source), idxs)]
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> PadShortcut:
        renumbered = torch.full((layer.in_channels + 1,), -1)  # index -1 finds the last entry
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


def cut_layer(module: nn.Module, side: Side, indices: Sequence[int]) -> None:
    """Remove channels from one side of a layer, in place. Its parameters are new objects afterwards.

    Args:
        side, indices: as for :class:`Member`.
    """
    pruner = _pruner_of(module)
    cut = pruner.prune_out_channels if side == "out" else pruner.prune_in_channels
    cut(module, indices)  # type: ignore[arg-type]


def _pruner_of(module: nn.Module) -> tp.BasePruningFunc:
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
        for item in graph.get_pruning_group(module, _pruner_of(module).prune_out_channels, roots).items:
            if item.dep.target.type in _TRANSPARENT:
                continue
            if (member := _member(item, names, roots)) is None:
                whole = False
                continue
            members.append(member)
            if member.side == "out" and isinstance(item.dep.target.module, nn.Conv2d):
                grouped.setdefault(member.layer, set()).update(member.indices)
        if whole:
            yield ChannelGroup(name=name, num_channels=len(roots), members=tuple(members))


def _member(item: Any, names: Mapping[nn.Module, str], roots: Sequence[int]) -> Member | None:
    """The part of a group at a node of the traced graph; None if no channel of the node can be removed."""
    node = item.dep.target
    module = node.module
    if not isinstance(module, (nn.Conv2d, nn.Linear, _BatchNorm, PadShortcut)):
        return None
    pruner = _pruner_of(module)
    out = item.dep.handler == pruner.prune_out_channels
    pruner.check(module, item.idxs, out)  # raises if a misread split gives channels that the layer does not have
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
    )


def _gated_behind(node: Any) -> bool:
    """Whether BatchNorms with gamma and beta, and nothing else, read this node's output.

    The test looks at operations, not modules: timm's BatchNorms are modules that contain an activation too.
    """
    readers = [reader.grad_fn for reader in node.outputs]
    return all("BatchNorm" in reader.name() and reader.next_functions[1][0] is not None for reader in readers)
