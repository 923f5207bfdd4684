"""The labels of every channel of a network, found in one forward pass.

Each layer that can be narrowed gives its outputs new labels. Every operation in between says which labels its result
has, and which of them it ties together (:mod:`.operations`). So the cost is that of a forward pass, whatever the
architecture.
Nothing here knows whether the network would work with fewer channels; :mod:`.surgery` tries it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ..models.channels import can_be_narrowed
from ..models.networks import PadShortcut
from .labels import FIXED, Labels
from .operations import labels_of_result

Side = Literal["in", "out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a forward pass showed.

    Attributes:
        sides: (layer, side) -> for each of its channels, the lowest label of those that it is tied to; 0 if it has to
            stay. Layers whose inputs and outputs are the same channels have ``out`` alone.
        behind: layers whose outputs are read by BatchNorms with gamma and beta, and by nothing else.
    """

    sides: dict[tuple[str, Side], Tensor]
    behind: frozenset[str]


@torch.no_grad()
def trace(network: nn.Module, example_NCHW: Tensor) -> Trace:
    """Run a network on an image, and follow its channels.

    Args:
        network: on the image's device, in eval mode. It gets hooks while this runs.
    """
    with _Tracer(network) as tracer:
        tracer.follow_input(example_NCHW)
        outputs = network(example_NCHW)
    for output in tree_leaves(outputs):
        tracer.fix(output)
    sides = {side: tracer.labels.roots(labels) for side, labels in tracer.sides.items()}
    return Trace(sides=sides, behind=frozenset(tracer.before_batchnorm - tracer.read_otherwise))


class _Tracer(TorchDispatchMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.labels = Labels()
        self.sides: dict[tuple[str, Side], Tensor] = {}
        self.before_batchnorm: set[str] = set()
        self.read_otherwise: set[str] = set()
        self._labels_of = WeakTensorKeyDictionary()
        self._layer_of = WeakTensorKeyDictionary()  # of a layer's direct output
        self._inside = 0
        uses = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
        self._hooks = []
        for name, module in network.named_modules():
            shared = any(uses[id(p)] > 1 for p in module.parameters(recurse=False))
            if can_be_narrowed(module) and not shared:  # a narrower layer has parameters of its own
                enter, leave = partial(self._enter, name), partial(self._leave, name)
                self._hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
                self._hooks.append(module.register_forward_hook(leave, with_kwargs=True))

    def __exit__(self, *exception: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*exception)

    def follow_input(self, x: Tensor) -> None:
        self._labels_of[x] = torch.tensor(FIXED).expand(x.shape)

    def fix(self, tensor: Any) -> None:
        if isinstance(tensor, Tensor) and tensor in self._labels_of:
            self.labels.fix(self._labels_of[tensor])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self._inside:
            self._follow(func, args, kwargs or {}, out)
        return out

    def _follow(self, func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor) and each in self._labels_of]
        if not read:
            return
        self.read_otherwise.update(self._layer_of[each] for each in read if each in self._layer_of)
        found = labels_of_result(self.labels, self._known, func, args, kwargs, out)
        outputs, labels = ([out], [found]) if isinstance(out, Tensor) else (list(out or ()), list(found or ()))
        for each, its_labels in zip(outputs, labels, strict=True):
            if isinstance(each, Tensor) and its_labels is not None:
                self._labels_of[each] = its_labels

    def _known(self, leaf: Any) -> Tensor | None:
        return self._labels_of.get(leaf) if isinstance(leaf, Tensor) else None

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._inside += 1

    def _leave(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any], out: Tensor) -> None:
        self._inside -= 1
        if self._inside:
            return
        x = next(each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor))
        if x in self._layer_of:
            gated = isinstance(module, _BatchNorm) and module.affine
            (self.before_batchnorm if gated else self.read_otherwise).add(self._layer_of[x])
        x_labels = self._labels_of.get(x)
        x_labels = torch.tensor(FIXED).expand(x.shape) if x_labels is None else x_labels
        dim = -1 if isinstance(module, nn.Linear) else x.ndim - 3 if isinstance(module, nn.Conv2d) else 1
        outputs = self._bind(name, module, self._channels(x_labels, dim % x.ndim))
        dims = [1] * out.ndim
        dims[dim] = len(outputs)
        self._labels_of[out] = outputs.view(dims).expand(out.shape)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            self._layer_of[out] = name

    def _channels(self, labels: Tensor, dim: int) -> Tensor:
        """The labels along one dimension; those that differ along others are tied."""
        for other in range(labels.ndim):
            if other != dim:
                self.labels.tie_along(labels, other)
                labels = labels.narrow(other, 0, 1)
        return labels.reshape(-1)

    def _bind(self, name: str, module: nn.Module, inputs: Tensor) -> Tensor:
        """The labels of a layer's outputs. A layer that runs twice has the same channels each time."""
        if isinstance(module, _BatchNorm):
            return self._side(name, "out", inputs)
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            if module.groups == module.in_channels:  # each group is one input and its outputs
                return self._side(name, "out", inputs.repeat_interleave(module.out_channels // module.groups))
            # The same places go from all groups, so that these stay equal.
            self.labels.tie_along(inputs.view(module.groups, -1), 0)
        self._side(name, "in", inputs)
        if (name, "out") in self.sides:
            return self.sides[name, "out"]
        count = len(module.source) if isinstance(module, PadShortcut) else len(module.weight)  # type: ignore[arg-type]
        outputs = self._side(name, "out", self.labels.new(count))
        if isinstance(module, nn.Conv2d):
            self.labels.tie_along(outputs.view(module.groups, -1), 0)
        return outputs

    def _side(self, name: str, side: Side, labels: Tensor) -> Tensor:
        before = self.sides.setdefault((name, side), labels)
        self.labels.tie(before, labels)
        return before
