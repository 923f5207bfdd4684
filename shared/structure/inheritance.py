"""A student that begins as a part of its teacher: some of its blocks and channels, fitted by least squares.

This is possible where the student is its teacher with fewer blocks in some of its chains, or with narrower layers, as
the networks of one family are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.dropped import Dropped
from .blocks import find_blocks
from .cut import CutNetwork
from .groups import ChannelGroup, find_groups
from .importance import gate_scores
from .targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """How a student is contained in its teacher.

    Attributes:
        dropped: names of the teacher's blocks that the student lacks.
    """

    dropped: Sequence[str]


@torch.no_grad()
def find_lineage(teacher: nn.Module, student: nn.Module, example_NCHW: Tensor) -> Lineage | None:
    """How a student is contained in its teacher; None if it is not, or is as large. Both are left as they are.

    Args:
        example_NCHW: one image on the teacher's device; its values do not matter.
    """
    chains: defaultdict[str, set[str]] = defaultdict(set)
    for block in find_blocks(teacher, example_NCHW):
        chain, _, key = block.name.rpartition(".")
        chains[chain].add(key)
    dropped: list[str] = []
    for chain, optional in chains.items():
        try:
            whole, count = _keys(teacher.get_submodule(chain)), len(_keys(student.get_submodule(chain)))
        except AttributeError:
            return None
        if not len(whole) - len(optional) <= count <= len(whole):
            return None
        kept = _evenly(whole, optional, count)
        dropped += [_join(chain, key) for key in whole if key not in kept]
    shallow = CutNetwork.of(teacher).without([], {}, dropped)
    narrowed = _narrowed(shallow, student, lambda group, count: range(count), example_NCHW)
    if narrowed is None or (not dropped and not narrowed.kept):
        return None
    return None if _state(student, narrowed.network) is None else Lineage(dropped=dropped)


@torch.no_grad()
def inherit(
    student: nn.Module,
    teacher: nn.Module,
    lineage: Lineage,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    example_NCHW: Tensor,
) -> None:
    """Give a student the weights of a part of its teacher, in place.

    Of each chain, blocks are kept at even distances: each then stands for itself and those that follow. (Blocks that go
    by what each is worth alone were not better; docs/research-log.md.) Channels go by their Taylor scores. The rest is
    fitted by least squares to what the teacher computes.

    Args:
        teacher: in eval mode. It is left as it is.
        lineage: :func:`find_lineage` of both.
        batches: gives the minibatches to value on, (N, C, H, W) and targets (N,) of whole numbers, again at each call.
        example_NCHW: one image; only its shape matters.

    Raises:
        ConfigError: the teacher's channels cannot be traced after all.
    """
    targets = Targets.of(teacher, lineage.dropped, (x_NCHW for x_NCHW, _ in batches()), example_NCHW)
    shallow = CutNetwork.of(teacher).without([], {}, lineage.dropped)
    shallow.fit(targets.whole)
    with torch.enable_grad():
        gates = gate_scores(shallow.network, batches())

    def least(group: ChannelGroup, count: int) -> Sequence[int]:
        return group.scores(gates).sort(stable=True).indices[:count].tolist()

    narrowed = _narrowed(shallow, student, least, example_NCHW)
    if narrowed is None:
        raise ConfigError("the student is no part of its teacher")
    if narrowed.kept:
        narrowed.fit(targets.whole)
    state = _state(student, narrowed.network)
    assert state is not None
    student.load_state_dict(state)


def _narrowed(
    cut: CutNetwork, student: nn.Module, choose: Callable[[ChannelGroup, int], Sequence[int]], example_NCHW: Tensor
) -> CutNetwork | None:
    """A cut network of the student's depth with the student's widths; None where that cannot be.

    Args:
        choose: for a group and a number, so many of its channels that go.
    """
    names = _names(student, cut.network)
    if names is None:
        return None
    own = {theirs: student.get_submodule(name) for name, theirs in names.items()}
    if all(_outputs(own[name]) == _outputs(module) for name, module in cut.network.named_modules() if name in own):
        return cut
    try:
        groups = find_groups(cut.network, example_NCHW)
    except ConfigError:
        return None
    removed: dict[str, Sequence[int]] = {}
    for group in groups:
        whole, wanted = _outputs(cut.network.get_submodule(group.name)), _outputs(own[group.name])
        kept, rest = divmod(group.num_channels * wanted, whole)
        if rest or kept > group.num_channels:
            return None
        if kept < group.num_channels:
            removed[group.name] = choose(group, group.num_channels - kept)
    try:
        return cut.without(groups, removed, (), example_NCHW=example_NCHW)
    except ConfigError:
        return None


def _names(student: nn.Module, cut: nn.Module) -> dict[str, str] | None:
    """Module of the student -> the module of the cut network that stands in its place: blocks of a chain are counted
    anew. None where the two are built differently."""
    found: dict[str, str] = {}

    def walk(name: str, theirs: str) -> bool:
        one, other = student.get_submodule(name), cut.get_submodule(theirs)
        if type(one) is not type(other) or _kind(one) != _kind(other):
            return False
        found[name] = theirs
        keys = [key for key, child in one._modules.items() if child is not None]
        others = [key for key, child in other._modules.items() if not (child is None or isinstance(child, Dropped))]
        is_chain = any(isinstance(child, Dropped) for child in other._modules.values())
        if len(keys) != len(others) or (keys != others and not is_chain):
            return False
        return all(walk(_join(name, key), _join(theirs, its)) for key, its in zip(keys, others, strict=True))

    return found if walk("", "") else None


def _state(student: nn.Module, cut: nn.Module) -> dict[str, Tensor] | None:
    """The weights of the cut network by the student's names; None where they do not fit."""
    names = _names(student, cut)
    if names is None:
        return None
    given, found = cut.state_dict(), dict[str, Tensor]()
    for key, value in student.state_dict().items():
        module, _, leaf = key.rpartition(".")
        weight = given.get(_join(names.get(module, module), leaf))
        if weight is None or weight.shape != value.shape:
            return None
        found[key] = weight
    return found


def _kind(module: nn.Module) -> tuple[object, ...]:
    """What must be equal of two layers, whatever their widths are."""
    if not isinstance(module, nn.Conv2d):
        return ()
    is_depthwise = module.groups == module.in_channels
    return module.kernel_size, module.stride, module.padding, module.dilation, is_depthwise or module.groups


def _outputs(module: nn.Module) -> int:
    """The outputs of a convolution or linear layer; 0 for others, which follow."""
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    return module.out_features if isinstance(module, nn.Linear) else 0


def _keys(chain: nn.Module) -> list[str]:
    return [key for key, child in chain._modules.items() if child is not None]


def _evenly(keys: Sequence[str], optional: Collection[str], count: int) -> set[str]:
    """So many of the keys: all that are not optional, and others at even distances, the first one if possible."""
    needed = [place for place, key in enumerate(keys) if key not in optional]
    even = [number * len(keys) // count for number in range(count)]
    others = [place for place in even if place not in needed]
    # Those beside a needed one are given up for it.
    others.sort(key=lambda place: min((abs(place - each) for each in needed), default=0), reverse=True)
    return {keys[place] for place in [*needed, *others[: count - len(needed)]]}


def _join(module: str, key: str) -> str:
    return f"{module}.{key}" if module else key
