"""The residual blocks that a network can do without: those whose shortcut is the identity.

They are found by what modules compute, whatever they are called: with silent branches (:mod:`.silence`) such a block
returns its input. :func:`~dreamdistill.shared.models.dropped.drop_blocks` drops them.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_map

from ..core.errors import ConfigError, one_line
from ..models.dropped import drop_blocks
from .separation import separate
from .silence import silent
from .surgery import agree, sharing_copy

# Standard deviations of the images that blocks are looked at with. A block that ends in a ReLU returns its input where
# that has no negative numbers: for images far outside the usual that is no chance.
SCALES = (1.0, 30.0)
# Of a module that is a block as a whole, the blocks within count if they hold such a share of its parameters: it is a
# chain. Else it is one block, of which some part has a shortcut too.
LEAST_OF_A_CHAIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A residual block that can be dropped.

    Attributes:
        name: of the module.
        shape: of what it takes and returns for one image.
    """

    name: str
    shape: tuple[int, ...]


@torch.no_grad()
def find_blocks(network: nn.Module, example_NCHW: Tensor) -> list[Block]:
    """The residual blocks that can be dropped, all of them together, in the order of execution.

    A block is called once, returns one tensor of the shape of its first argument, contains a convolution or a linear
    layer, shares no parameter with the rest of the network, and with silent branches it returns its first argument. The
    network works without it, and computes then what it computes with these branches silent. Blocks do not contain one
    another. The network is left as it is.

    Args:
        example_NCHW: one image; its values do not matter.

    Raises:
        ConfigError: the network does not take images of noise.
    """
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    noise = torch.Generator().manual_seed(0)
    image_NCHW = torch.randn(example_NCHW.shape, generator=noise, dtype=example_NCHW.dtype)
    names = _candidates(copied)
    found: list[Block] = []
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # there a whole layer is one operation, with its shortcut
    try:
        for scale in SCALES:
            with _Finder(copied, names) as finder:
                copied(scale * image_NCHW)
            found = finder.found()
            names = [block.name for block in found]
        return separate(found, partial(_works_without, copied, example_NCHW))[0]
    except Exception as error:  # the user's own code
        raise ConfigError(f"the network does not take images of noise: {one_line(error)}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _works_without(network: nn.Module, example_NCHW: Tensor, blocks: Sequence[Block]) -> bool:
    smaller, masked = sharing_copy(network), sharing_copy(network)
    drop_blocks(smaller, [block.name for block in blocks])
    for block in blocks:
        module = masked.get_submodule(block.name)
        module.forward = silent(module)
    return agree(smaller, masked, example_NCHW)


def _candidates(network: nn.Module) -> list[str]:
    """Names of the modules that have a convolution or a linear layer, and parameters that nothing else has."""
    names: dict[nn.Module, list[str]] = defaultdict(list)  # a module may have several
    for name, module in network.named_modules(remove_duplicate=False):
        names[module].append(name)
    keys: dict[Tensor, list[str]] = defaultdict(list)
    for key, parameter in network.named_parameters(remove_duplicate=False):
        keys[parameter].append(key)
    return [
        name
        for name, module in network.named_modules()
        if name
        and any(isinstance(each, (_ConvNd, nn.Linear)) for each in module.modules())
        and all(
            key.startswith(tuple(f"{each}." for each in names[module]))
            for parameter in module.parameters()
            for key in keys[parameter]
        )
    ]


class _Finder:
    """Hooks that look at what modules return with silent branches. A context manager, which removes them at the end."""

    def __init__(self, network: nn.Module, names: Collection[str]) -> None:
        self._modules = {name: network.get_submodule(name) for name in names}
        self._calls: Counter[str] = Counter()  # in the order of execution
        self._given: dict[str, Any] = {}
        self._found: dict[str, Block] = {}
        self._looking = False
        self._hooks = []

    def __enter__(self) -> _Finder:
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
            self._hooks.append(module.register_forward_hook(partial(self._leave, name)))
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def found(self) -> list[Block]:
        """In the order of execution."""
        return [self._found[name] for name, calls in self._calls.items() if name in self._found and calls == 1]

    def _enter(self, name: str, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if not self._looking:
            self._calls[name] += 1
            self._given[name] = _copied((args, kwargs))  # a block may write into its input

    def _leave(self, name: str, module: nn.Module, _: Any, out: Any) -> None:
        if self._looking:
            return
        args, kwargs = self._given.pop(name)
        x = args[0] if args else None
        if not isinstance(x, Tensor) or not isinstance(out, Tensor) or out.shape != x.shape or not x.any():
            return  # zeros, as behind a scale of 0 with which many branches begin, tell nothing
        within = [other for other in self._found if other.startswith(f"{name}.")]
        if within and sum(map(self._size, within)) >= LEAST_OF_A_CHAIN * self._size(name):
            return
        if self._returns(x, module, args, kwargs):
            for other in within:
                del self._found[other]
            self._found[name] = Block(name=name, shape=tuple(x.shape))

    def _size(self, name: str) -> int:
        return sum(parameter.numel() for parameter in self._modules[name].parameters())

    def _returns(self, x: Tensor, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a module with silent branches returns its first argument, wherever that is finite."""
        self._looking = True
        try:
            args, kwargs = _copied((args, kwargs))
            out = silent(module)(*args, **kwargs)
        except Exception:  # the user's own code, with zeros that it does not expect
            return False
        finally:
            self._looking = False
        return isinstance(out, Tensor) and out.shape == x.shape and bool(((out == x) | ~x.isfinite()).all())


def _copied(values: Any) -> Any:
    return tree_map(lambda each: each.clone() if isinstance(each, Tensor) else each, values)
