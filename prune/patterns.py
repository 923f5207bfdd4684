"""Which layers may be pruned, by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ..shared.core.errors import ConfigError, listed, nearest
from ..shared.structure.groups import ChannelGroup, is_writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Names of layers or of modules that hold them, with ``*`` and ``?`` for what does not matter.

    Attributes:
        keep: layers that stay as they are.
        only: the only layers that may lose outputs, or go; all if there are none. Layers that make no new channels,
            such as a BatchNorm, follow those that do.
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

    def allow_group(self, group: ChannelGroup, network: nn.Module) -> bool:
        """Whether all layers whose outputs are the group's channels may lose some."""
        return self._allow(group.outputs, network)

    def allow_block(self, block: str, network: nn.Module) -> bool:
        """Whether a block may go: all of its layers may."""
        inner = _leaves(network.get_submodule(block))
        return self._allow([f"{block}.{name}" if name else block for name, _ in inner], network)

    def refusal(self, groups: Iterable[ChannelGroup], network: nn.Module) -> str | None:
        """Why nothing is left of these groups, and what to do; None where there are no patterns."""
        if not self.only and not self.keep:
            return None
        for group in groups:
            layers = _writers(group.outputs, network)
            named = [layer for layer in layers if _match(layer, self.only)]
            missing = [layer for layer in layers if layer not in named]
            if named and missing:
                return (
                    f"nothing is left that may go: {named[0]} has its outputs in common with {listed(missing)}, so"
                    " --only must name all of them"
                )
        return "nothing is left that may go: let --only name more layers, or --keep fewer"

    def remark(self) -> str:
        """For a sentence on what cannot be reached."""
        return ", or are kept" if self.keep or self.only else ""

    def _allow(self, layers: Sequence[str], network: nn.Module) -> bool:
        if any(_match(layer, self.keep) for layer in layers):
            return False
        return not self.only or all(_match(layer, self.only) for layer in _writers(layers, network) or layers)


def _writers(layers: Iterable[str], network: nn.Module) -> list[str]:
    return [layer for layer in layers if is_writer(network.get_submodule(layer))]


def _match(layer: str, patterns: Sequence[str]) -> bool:
    """Whether a layer, or a module that it is a part of, has a name of these patterns."""
    words = layer.split(".")
    names = [".".join(words[: count + 1]) for count in range(len(words))]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _leaves(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, each) for name, each in module.named_modules() if not list(each.children())]
