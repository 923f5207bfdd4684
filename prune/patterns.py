"""Which layers may be pruned, by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ..shared.core.errors import ConfigError, nearest
from ..shared.structure.groups import ChannelGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Names of layers or of modules that hold them, with ``*`` and ``?`` for what does not matter.

    Attributes:
        keep: layers that stay as they are.
        only: the only layers that may lose outputs, or go; all if there are none.
    """

    keep: Sequence[str] = ()
    only: Sequence[str] = ()

    def check(self, network: nn.Module) -> None:
        """Refuse a pattern that no module matches.

        Raises:
            ConfigError: there is one; the nearest name is given.
        """
        names = [name for name, _ in network.named_modules() if name]
        for option, patterns in (("keep", self.keep), ("only", self.only)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise ConfigError(f"the network has no layer {pattern!r:.80} (--{option}){nearest(pattern, names)}")

    def allow_group(self, group: ChannelGroup) -> bool:
        """Whether all layers whose outputs are the group's channels may lose some."""
        return self._allow(member.layer for member in group.members if member.side == "out")

    def allow_block(self, block: str, network: nn.Module) -> bool:
        """Whether a block may go: all of its layers may."""
        return self._allow(f"{block}.{name}" if name else block for name, _ in _leaves(network.get_submodule(block)))

    def remark(self) -> str:
        """For a sentence on what cannot be reached."""
        return ", or are kept" if self.keep or self.only else ""

    def _allow(self, layers: Iterable[str]) -> bool:
        return all(not _match(layer, self.keep) and (not self.only or _match(layer, self.only)) for layer in layers)


def _match(layer: str, patterns: Sequence[str]) -> bool:
    """Whether a layer, or a module that it is a part of, has a name of these patterns."""
    words = layer.split(".")
    names = [".".join(words[: count + 1]) for count in range(len(words))]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, each) for name, each in module.named_modules() if not list(each.children())]
