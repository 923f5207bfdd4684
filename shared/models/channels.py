"""Channel tables: how wide each layer of a pruned network is, and how to give a fresh network those widths.

A pruned network is its architecture's name, a table of widths and the weights. Nothing is pickled, and nothing but
torch is needed to load it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .networks import PadShortcut

ChannelConfig = dict[str, list[int]]


def channel_config(network: nn.Module) -> ChannelConfig:
    """Layer name -> [out, in, groups] of a convolution, [out, in] of a linear layer, [channels] of a BatchNorm,
    [in, *source table] of a :class:`PadShortcut`."""
    table: ChannelConfig = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            table[name] = [module.out_channels, module.in_channels, module.groups]
        elif isinstance(module, nn.Linear):
            table[name] = [module.out_features, module.in_features]
        elif isinstance(module, _BatchNorm):
            table[name] = [module.num_features]
        elif isinstance(module, PadShortcut):
            table[name] = [module.in_channels, *module.source.tolist()]
    return table


def apply_channel_config(network: nn.Module, widths: Mapping[str, list[int]]) -> None:
    """Resize the layers of ``network`` in place. Resized layers start anew: their old values mean nothing now.

    Raises:
        ValueError: the table is not of this architecture.
    """
    modules = dict(network.named_modules())
    if missing := widths.keys() - modules.keys():
        raise ValueError(f"the network has no layer {sorted(missing)[0]!r}")
    current = channel_config(network)
    for name, width in widths.items():
        if name not in current or (len(width) != len(current[name]) and not isinstance(modules[name], PadShortcut)):
            raise ValueError(f"layer {name!r} is not of the kind that the channel table says")
        if current[name] != width:
            _resize(modules[name], width)


def _resize(module: nn.Module, width: list[int]) -> None:
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels, module.groups = width
        shape = (width[0], width[1] // width[2], *module.kernel_size)
        _renew(module, weight=shape, bias=(width[0],))
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = width
        _renew(module, weight=(width[0], width[1]), bias=(width[0],))
    elif isinstance(module, _BatchNorm):
        module.num_features = width[0]
        _renew(module, weight=(width[0],), bias=(width[0],))
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean = module.running_mean.new_zeros(width[0])
            module.running_var = module.running_var.new_ones(width[0])
    elif isinstance(module, PadShortcut):
        module.in_channels = width[0]
        module.source = torch.tensor(width[1:], device=module.source.device)
        return
    module.reset_parameters()  # type: ignore[operator]


def _renew(module: nn.Module, **shapes: tuple[int, ...]) -> None:
    for name, shape in shapes.items():
        if (old := getattr(module, name)) is not None:
            setattr(module, name, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
