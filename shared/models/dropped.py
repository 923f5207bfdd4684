"""Blocks that a network has lost: what stands in their place, their names, and how to drop them from another network.

A saved model names them, so that its architecture, which has them, becomes the network that was saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn


class Dropped(nn.Identity):
    """What stands where a block was: it returns its first argument. It has no parameters, and so no weights to load."""

    def forward(self, input: Tensor, *others: object, **named: object) -> Tensor:
        return input


def dropped_blocks(network: nn.Module) -> tuple[str, ...]:
    """The names of the blocks that were dropped from a network, in the order of definition."""
    return tuple(name for name, module in network.named_modules() if isinstance(module, Dropped))


def drop_blocks(network: nn.Module, names: Sequence[str]) -> None:
    """Let a network go on without some of its modules, in place. Those that were dropped before stay so.

    The names of all other modules and of their parameters stay as they are.

    Raises:
        ValueError: there is no such module, or one is a part of another. Nothing is dropped then.
    """
    check_apart(names)
    modules = dict(network.named_modules())
    for name in names:
        if not name or name not in modules:
            raise ValueError(f"the network has no block {name!r:.80}")
    blocks = [modules[name] for name in names if not isinstance(modules[name], Dropped)]
    replace_modules(network, {block: Dropped().train(block.training) for block in blocks})


def replace_modules(network: nn.Module, replaced: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, in place, under all names that they have."""
    for parent in list(network.modules()):
        for key, child in list(parent._modules.items()):  # each name of it; named_children() gives one
            if child is not None and child in replaced:
                setattr(parent, key, replaced[child])


def is_part(name: str, blocks: Sequence[str]) -> bool:
    """Whether this is the name of a part of one of these blocks."""
    return name.startswith(tuple(f"{block}." for block in blocks))


def check_apart(names: Sequence[str]) -> None:
    """Refuse names of modules of which one is another, or a part of another.

    Raises:
        ValueError: there is such a pair.
    """
    for one, other in pairwise(sorted(f"{name}." for name in names)):
        if other.startswith(one):
            raise ValueError(f"the block {one[:-1]!r:.80} has the part {other[:-1]!r:.80}, or is named twice")
