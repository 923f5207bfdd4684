"""Groups of channels that can only be removed together, and the removal of channels from one layer.

Which channels belong together is what :mod:`.tracing` found. Nothing here checks that; :mod:`.surgery` does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import ConfigError, one_line
from ..models.networks import PadShortcut
from .labels import FIXED
from .tracing import Side, Trace, trace

REFUSAL = "this architecture cannot be pruned ({reason}); distil it into a smaller student with di-distill instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The part of a group that lies on one side of one layer.

    Attributes:
        layer: its name in the network.
        side: ``in`` or ``out``. A BatchNorm or depthwise convolution, whose inputs and outputs are the same channels,
            has ``out`` alone.
        indices: channels of that side of the layer.
        channels: for each of the indices, the group's channel that it belongs to. Several belong to one where only all
            of them can go: the same places of all groups of a grouped convolution, or the pixels of a flattened map.
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
        name: the convolution or linear layer whose outputs the channels are; the same whenever the same network is
            traced.
        num_channels: C.
        is_stream: whether several layers write the channels, or several read them, as those of a residual stream.
    """

    name: str
    num_channels: int
    members: tuple[Member, ...]
    is_stream: bool = False

    @property
    def outputs(self) -> list[str]:
        """The layers whose outputs are the channels."""
        return list(dict.fromkeys(member.layer for member in self.members if member.side == "out"))

    def scores(self, gate_scores: Mapping[str, Tensor]) -> Tensor:
        """(C,) float64: for each channel, the sum over the scores of its gated layers.

        Where several channels of one gate belong to a channel of the group, their mean counts: with their sum, the
        channels of a grouped convolution would outlast all others.
        """
        total_C = torch.zeros(self.num_channels, dtype=torch.float64)
        for member in self.members:
            if member.gated:
                values = gate_scores[member.layer][list(member.indices)].double().cpu()
                channels = torch.tensor(member.channels)
                count_C = torch.bincount(channels, minlength=self.num_channels).clamp(min=1)
                total_C += torch.zeros_like(total_C).index_add_(0, channels, values) / count_C
        return total_C


def find_groups(network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
    """The groups of channels that can be removed by all that the network shows of itself, in the order of their layers.

    Excluded are the channels of the logits and of the image, and channels that an operation or a layer reads which a
    channel configuration cannot describe (:mod:`~dreamdistill.shared.models.channels`): LayerNorm, bare parameters,
    the products of attention.

    Args:
        example_NCHW: one image; its values do not matter.

    Raises:
        ConfigError: the network cannot be traced, or no channel can be removed.
    """
    traced = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    try:
        found = trace(traced, torch.zeros_like(example_NCHW, device="cpu"))
    except Exception as error:  # any failure means the same to the user
        raise ConfigError(REFUSAL.format(reason=f"its channels cannot be traced: {one_line(error)}")) from error
    groups = _groups(traced, found)
    if not groups:
        raise ConfigError(REFUSAL.format(reason="every channel is tied to a layer of a kind that cannot be narrowed"))
    return groups


def _groups(network: nn.Module, found: Trace) -> list[ChannelGroup]:
    places: dict[int, tuple[str, int]] = {}  # label -> the group that it belongs to, and the channel of it
    sizes: dict[str, int] = {}
    modules = dict(network.named_modules())
    for name, module in modules.items():
        labels = found.sides.get((name, "out"))
        if labels is None or not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        for label in labels.tolist():
            if label != FIXED and label not in places:
                places[label] = name, sizes.get(name, 0)
                sizes[name] = sizes.get(name, 0) + 1
    parts: dict[str, dict[tuple[str, Side], tuple[list[int], list[int]]]] = {name: {} for name in sizes}
    for side, labels in found.sides.items():
        for index, label in enumerate(labels.tolist()):
            if label in places:
                name, channel = places[label]
                indices, channels = parts[name].setdefault(side, ([], []))
                indices.append(index)
                channels.append(channel)
    groups: list[ChannelGroup] = []
    for name, members in parts.items():
        own = [
            Member(
                layer=layer,
                side=side,
                indices=tuple(indices),
                channels=tuple(channels),
                gated=side == "out" and _is_gate(modules[layer], behind=layer in found.behind),
            )
            for (layer, side), (indices, channels) in members.items()
        ]
        if sizes[name] == 1:
            continue  # a channel that is alone has to stay
        writers = [m for m in own if m.side == "out" and is_writer(modules[m.layer])]
        readers = [m for m in own if m.side == "in"]
        is_stream = len(writers) > 1 or len(readers) > 1
        groups.append(ChannelGroup(name=name, num_channels=sizes[name], members=tuple(own), is_stream=is_stream))
    return groups


def is_writer(module: nn.Module) -> bool:
    """Whether a layer makes new channels out of those that it reads."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and not _is_depthwise(module))


def _is_gate(module: nn.Module, *, behind: bool) -> bool:
    """Whether a layer's own gate counts, and not that of the BatchNorm which follows it."""
    if isinstance(module, _BatchNorm):
        return module.affine
    return isinstance(module, (nn.Conv2d, nn.Linear)) and not behind


def _is_depthwise(module: nn.Conv2d) -> bool:
    return module.groups == module.in_channels > 1


@torch.no_grad()
def cut_layer(module: nn.Module, side: Side, indices: Sequence[int]) -> None:
    """Remove channels from one side of a layer, in place. Its parameters are new objects afterwards.

    Args:
        side, indices: as for :class:`Member`, all of one removal.
    """
    if isinstance(module, PadShortcut):
        _cut_shortcut(module, side, indices)
    elif isinstance(module, _BatchNorm):
        kept = _kept(module.num_features, indices)
        module.num_features = len(kept)
        for name in ("weight", "bias", "running_mean", "running_var"):
            _keep(module, name, kept)
    elif side == "out":
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        kept = _kept(len(module.weight), indices)
        for name in ("weight", "bias"):
            _keep(module, name, kept)
        if isinstance(module, nn.Linear):
            module.out_features = len(kept)
            return
        if _is_depthwise(module):
            module.in_channels = module.groups = len(kept) * module.groups // module.out_channels
        module.out_channels = len(kept)
    elif isinstance(module, nn.Linear):
        kept = _kept(module.in_features, indices)
        _keep(module, "weight", kept, dim=1)
        module.in_features = len(kept)
    else:
        assert isinstance(module, nn.Conv2d)
        kept = _kept(module.weight.shape[1], weight_columns(module, indices))
        _keep(module, "weight", kept, dim=1)
        module.in_channels = len(kept) * module.groups


def weight_columns(module: nn.Module, indices: Sequence[int]) -> list[int]:
    """The columns of a layer's weight that read these inputs. Those of a grouped convolution are places in a group."""
    width = module.get_parameter("weight").shape[1]
    return sorted({index % width for index in indices})


def _cut_shortcut(module: PadShortcut, side: Side, indices: Sequence[int]) -> None:
    if side == "out":
        module.source = module.source[_kept(len(module.source), indices)]
        return
    kept = _kept(module.in_channels, indices)
    renumbered = torch.full((module.in_channels + 1,), -1, device=module.source.device)  # index -1 finds the last entry
    renumbered[kept] = torch.arange(len(kept), device=module.source.device)
    module.source = renumbered[module.source]
    module.in_channels = len(kept)


def _kept(count: int, removed: Sequence[int]) -> list[int]:
    return sorted(set(range(count)) - set(removed))


def _keep(module: nn.Module, name: str, kept: list[int], dim: int = 0) -> None:
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        chosen = old.detach().index_select(dim, torch.tensor(kept, device=old.device))
        setattr(module, name, nn.Parameter(chosen, requires_grad=old.requires_grad))
    elif isinstance(old, Tensor):
        setattr(module, name, old.index_select(dim, torch.tensor(kept, device=old.device)))
