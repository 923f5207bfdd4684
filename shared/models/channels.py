"""The channel configuration of a pruned network: the width of each layer, and how to give a new network these widths.

A pruned network is saved as the name of its architecture, its dropped blocks (:mod:`.dropped`), its channel
configuration and its weights. Nothing is pickled, and loading it needs nothing but torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .networks import PadShortcut

ChannelConfig = dict[str, list[int]]
"""Layer name -> widths, see :func:`channel_config`."""


def can_be_narrowed(module: nn.Module) -> bool:
    """Whether a channel configuration describes all that changes when a layer gets other widths.

    It does not where the weight is computed from others (weight_norm, spectral_norm, pruning masks), or where the layer
    has parameters beside weight and bias.
    """
    if isinstance(module, PadShortcut):
        return True
    if not isinstance(module, (nn.Conv2d, nn.Linear, _BatchNorm)):
        return False
    own = {name for name, _ in module.named_parameters() if not isinstance(module, _BatchNorm) or "." not in name}
    return own <= {"weight", "bias"} and ("weight" in own or isinstance(module, _BatchNorm))


def channel_config(network: nn.Module) -> ChannelConfig:
    """The channel configuration of a network.

    A convolution has [out, in, groups], a linear layer [out, in], a BatchNorm [channels], and a :class:`PadShortcut`
    [in, *source]. Other layers have no entry.
    """
    config: ChannelConfig = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            config[name] = [module.out_channels, module.in_channels, module.groups]
        elif isinstance(module, nn.Linear):
            config[name] = [module.out_features, module.in_features]
        elif isinstance(module, _BatchNorm):
            config[name] = [module.num_features]
        elif isinstance(module, PadShortcut):
            config[name] = [module.in_channels, *module.source.tolist()]
    return config


def apply_channel_config(
    network: nn.Module, config: Mapping[str, list[int]], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Resize the layers of ``network`` in place. A resized layer gets new initial values.

    Args:
        shapes: of the weights that the layers are to get, by their keys. Widths that need other ones are refused, so
            that a width which no file of weights backs allocates nothing.

    Raises:
        ValueError: the configuration belongs to another architecture, or to other weights.
    """
    modules = dict(network.named_modules())
    if missing := config.keys() - modules.keys():
        raise ValueError(f"the network has no layer {sorted(missing)[0]!r}")
    current = channel_config(network)
    for name, widths in config.items():
        if name not in current or (len(widths) != len(current[name]) and not isinstance(modules[name], PadShortcut)):
            raise ValueError(f"layer {name!r} has another type than in the channel configuration")
        if current[name] != widths:
            wanted = _parameter_shapes(name, modules[name], widths)
            for key, shape in wanted.items():
                if shapes is not None and shapes.get(f"{name}.{key}") != shape:
                    raise ValueError(f"{name}.{key} is not of shape {shape} in the weights")
            _resize(modules[name], widths, wanted)


def _parameter_shapes(name: str, module: nn.Module, widths: list[int]) -> dict[str, tuple[int, ...]]:
    """The shapes that the parameters of a layer would have."""
    if isinstance(module, PadShortcut):
        if min(widths[1:], default=0) < -1 or max(widths[1:], default=0) >= widths[0]:
            raise ValueError(f"layer {name!r} takes channels that its input does not have")
        return {}
    if min(widths) < 1:
        raise ValueError(f"layer {name!r} has no channels")
    shape: tuple[int, ...] = (widths[0],)
    if isinstance(module, nn.Conv2d):
        if widths[0] % widths[2] or widths[1] % widths[2]:
            raise ValueError(f"the channels of layer {name!r} do not divide into its groups")
        shape = (widths[0], widths[1] // widths[2], *module.kernel_size)
    elif isinstance(module, nn.Linear):
        shape = (widths[0], widths[1])
    shapes = {"weight": shape, "bias": (widths[0],)}
    return {key: shape for key, shape in shapes.items() if getattr(module, key) is not None}


def _resize(module: nn.Module, widths: list[int], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels, module.groups = widths
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = widths
    elif isinstance(module, _BatchNorm):
        module.num_features = widths[0]
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean = module.running_mean.new_zeros(widths[0])
            module.running_var = module.running_var.new_ones(widths[0])
    elif isinstance(module, PadShortcut):
        module.in_channels = widths[0]
        module.source = torch.tensor(widths[1:], device=module.source.device)
        return
    for name, shape in shapes.items():
        old = getattr(module, name)
        setattr(module, name, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
    module.reset_parameters()  # type: ignore[operator]
