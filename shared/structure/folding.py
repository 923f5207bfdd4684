"""BatchNorms of a frozen network folded into the convolutions ahead of them: the same function in fewer operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ..models.dropped import replace_modules
from .surgery import sharing_copy


@torch.no_grad()
def fold_batchnorms(network: nn.Module, example_NCHW: Tensor, *, seen: Collection[str] = ()) -> nn.Module:
    """A network that computes what the given one does, but for rounding, with as few BatchNorms as possible.

    A BatchNorm goes where one forward pass shows that it reads the output of a convolution which nothing else reads.
    The given network is left as it is; the other one shares all its other parameters and buffers.

    Args:
        network: on the example's device; the other one is in eval mode.
        example_NCHW: any network input.
        seen: names of modules whose outputs others look at: those stay what they are.
    """
    found = sharing_copy(network)
    with _Readers(found, seen) as readers:
        readers.note(found(example_NCHW), by=None)
    pairs = dict(readers.pairs())
    for norm, conv in pairs.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    replace_modules(found, {norm: nn.Identity() for norm in pairs})
    return found


class _Readers(TorchDispatchMode):
    """While it lasts, it notes what reads the outputs of a network's convolutions."""

    def __init__(self, network: nn.Module, seen: Collection[str]) -> None:
        super().__init__()
        self._writer = WeakTensorKeyDictionary()  # a convolution's output -> the convolution
        self._readers: dict[nn.Conv2d, set[nn.Module | None]] = {}  # None: something else than a BatchNorm
        self._calls: Counter[nn.Module] = Counter()
        self._inside: nn.Module | None = None  # the BatchNorm that runs
        self._hooks = [hook for name, module in network.named_modules() for hook in self._watch(module, name in seen)]

    def _watch(self, module: nn.Module, is_seen: bool) -> Iterator[Any]:
        if _is_plain(module, nn.Conv2d):
            yield module.register_forward_hook(self._write)
        elif _is_plain(module, nn.BatchNorm2d) and module.running_mean is not None:
            yield module.register_forward_pre_hook(self._enter)
            yield module.register_forward_hook(self._leave)
        if is_seen:
            yield module.register_forward_hook(lambda _module, _inputs, out: self.note(out, by=None))

    def pairs(self) -> Iterator[tuple[nn.BatchNorm2d, nn.Conv2d]]:
        """Each BatchNorm that can go, and the convolution that it follows."""
        for conv, readers in self._readers.items():
            norm = next(iter(readers)) if len(readers) == 1 else None
            if isinstance(norm, nn.BatchNorm2d) and self._calls[conv] == self._calls[norm] == 1:
                yield norm, conv

    def note(self, read: Any, *, by: nn.Module | None) -> None:
        for tensor in tree_leaves(read):
            if isinstance(tensor, Tensor) and tensor in self._writer:
                self._readers[self._writer[tensor]].add(by)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.note((args, kwargs), by=self._inside)
        return func(*args, **(kwargs or {}))

    def __exit__(self, *exception: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*exception)

    def _write(self, conv: nn.Module, inputs: Any, out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        self._calls[conv] += 1
        self._writer[out] = conv
        self._readers.setdefault(conv, set())

    def _enter(self, norm: nn.Module, inputs: Any) -> None:
        self._calls[norm] += 1
        self._inside = norm

    def _leave(self, norm: nn.Module, inputs: Any, out: Tensor) -> None:
        self._inside = None


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it is of this class and does what the class does: weights of its own, and no hooks."""
    own = {"weight", "bias"} & {name for name, value in vars(module).items() if value is not None}
    return type(module) is kind and not (module._forward_hooks or module._forward_pre_hooks or own)
