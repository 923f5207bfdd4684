"""A classifier with more outputs: its last layer gets rows for new classes, and keeps those of the old ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...shared.core.errors import ConfigError
from ...shared.models.channels import apply_channel_config, can_be_narrowed, channel_config
from ...shared.structure.hooked import Hooked

TOLERANCE = 1e-4  # share of the largest logit by which those of the old classes may differ: another kernel may run


@torch.no_grad()
def widen(network: nn.Module, new: int, example_NCHW: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of a network with ``new`` more outputs, and the names of the layers that were widened: its head.

    The head is a linear layer or a 1x1 convolution, or several of them whose outputs are added up, as in distilled
    vision transformers. It is found by trial: of the layers with as many outputs as the network, that is the one with
    which a wider network has the same first logits. The new rows are 0. Labels tell rows apart in the first step.

    Args:
        network: in eval mode, logits (N, K). It is left as it is.
        example_NCHW: network input, on the network's device; not all of it 0.

    Raises:
        ConfigError: it has no such head.
    """
    logits_NK = network(example_NCHW)
    for head in _possible_heads(network, example_NCHW, logits_NK.shape[1]):
        wider = copy.deepcopy(network)
        _widen_layers(wider, head, new)
        try:
            found_NJ = wider(example_NCHW)
        except Exception:  # what follows a hidden layer does not take more inputs, and says so in many ways
            continue
        if _begins_with(found_NJ, logits_NK, new):
            return wider, head
    raise ConfigError(
        "this network ends in no linear layer or 1x1 convolution that can get more outputs: train a student of another"
        " architecture by di-distill, and extend that"
    )


def _possible_heads(network: nn.Module, example_NCHW: Tensor, outputs: int) -> Iterator[tuple[str, ...]]:
    """Layers that may be the head: each with so many outputs, from the last that runs on; then all of them together."""
    ran: dict[str, None] = {}
    hooked = Hooked(network)

    def note(name: str, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        ran.pop(name, None)
        ran[name] = None

    for name, module in network.named_modules():
        if can_be_narrowed(module) and _outputs(module) == outputs:
            hooked.after(name, note)
    hooked.run(example_NCHW)
    names = list(reversed(ran))
    yield from ((name,) for name in names)
    if len(names) > 1:
        yield tuple(names)


def _outputs(module: nn.Module) -> int | None:
    """The outputs of a layer that can be a head."""
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.kernel_size == (1, 1):
        return module.out_channels
    return None


def _widen_layers(network: nn.Module, names: Sequence[str], new: int) -> None:
    widths = channel_config(network)
    before = {name: copy.deepcopy(network.get_submodule(name).state_dict()) for name in names}
    apply_channel_config(network, {name: [widths[name][0] + new, *widths[name][1:]] for name in names})
    for name in names:
        for key, parameter in network.get_submodule(name).named_parameters():
            old = before[name][key]
            parameter.zero_()
            parameter[: len(old)] = old


def _begins_with(found_NJ: object, logits_NK: Tensor, new: int) -> bool:
    count, old = logits_NK.shape
    if not isinstance(found_NJ, Tensor) or found_NJ.shape != (count, old + new):
        return False
    return bool((found_NJ[:, :old] - logits_NK).abs().max() <= TOLERANCE * logits_NK.abs().max())
