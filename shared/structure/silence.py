"""A module with silent branches: it computes what it would if none of its layers had anything to say.

Every operation that joins numbers with the module's own tensors (parameters and buffers) yields zeros. That is what
parameters of zeros do to most layers. It holds as well for BatchNorms without parameters, frozen ones, whose scales are
buffers, and weights that are computed from others and would be 0/0. What is left of a residual block is its shortcut.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary


def silent(module: nn.Module) -> Callable[..., Any]:
    """The ``forward`` of a module with silent branches. The module stays as it is.

    It may write into buffers that the module itself writes into.
    """
    forward = module.forward

    def without_branches(*args: Any, **kwargs: Any) -> Any:
        with _Silence(module):
            return forward(*args, **kwargs)

    return without_branches


class _Silence(TorchDispatchMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._own = WeakTensorKeyDictionary()  # the module's tensors, and what is computed from them alone
        for tensor in chain(module.parameters(), module.buffers()):
            self._own[tensor] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        owned = [leaf in self._own for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(owned):
            for each in tree_leaves(out):
                if isinstance(each, Tensor) and all(owned):
                    self._own[each] = True
                elif isinstance(each, Tensor) and each.is_floating_point():
                    each.zero_()
        return out
