"""Which of the state dicts of a file is a network's, and under which prefix its keys stand there.

Trainers wrap networks: in DataParallel (``module.``), torch.compile (``_orig_mod.``), a Lightning module (``model.``),
or several of them. A network may as well have a child of such a name. So nothing is cut off blindly: a prefix is what
stands before all keys of the network, and names of wrappers inside keys are passed over only where nothing fits else.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..core.errors import ConfigError
from .state_dicts import State, tensors_of, without_auxiliary

# Children that wrappers of torch and Lightning put between a module and its parameters.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
_AVERAGED = re.compile(r"(?i)(^|[._])(ema|swa|averaged?)([._]|$)")  # weights averaged over the training


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A state dict by the network's keys.

    Attributes:
        place: of the state dict in the file, and the prefix of its keys.
        found: how many of the network's tensors are there.
        fits: whether all are, in their shapes, and none besides.
    """

    place: str
    state: State
    found: int
    fits: bool


def match_weights(
    checkpoint: Mapping[str, State], network: nn.Module, *, auxiliary: tuple[str, ...] = (), path: Path, name: str
) -> State:
    """The state dict of a file that fits a network, with its keys as the network has them.

    Where several fit, that of averaged weights (EMA) is taken, as timm does, and a line on stderr says so. Where none
    fits it is the one that fits best, for :func:`~.state_dicts.fit_weights` to say what is wrong with it.

    Args:
        checkpoint: state dicts by their place in the file, at least one.
        auxiliary: how the keys of weights begin that the network has no use for.

    Raises:
        ConfigError: several different ones fit.
    """
    own = network.state_dict()
    matches = [match for place, state in checkpoint.items() for match in _matches(place, state, own, auxiliary)]
    fitting: list[_Match] = []
    for match in matches:
        if match.fits and not any(_equal(match.state, other.state) for other in fitting):
            fitting.append(match)
    if not fitting:
        return max(matches, key=lambda match: match.found).state
    if len(fitting) == 1:
        return fitting[0].state
    averaged = [match for match in fitting if _AVERAGED.search(match.place)]
    places = [match.place or "the file itself" for match in fitting]
    if len(averaged) != 1:
        raise ConfigError(
            f"{path} holds several networks that fit {name} ({', '.join(places)}): save the one that is meant in a file"
            " of its own, torch.save(state_dict, 'weights.pth')"
        )
    if multiprocessing.parent_process() is None:  # workers load the same file once more
        print(f"{path} holds {' and '.join(places)}: {averaged[0].place} is taken, the averaged one", file=sys.stderr)
    return averaged[0].state


def _matches(place: str, state: State, own: State, auxiliary: tuple[str, ...]) -> Iterator[_Match]:
    """The readings of a state dict under each possible prefix, first as the keys are, then without wrappers' names.

    Of the readings that lack a tensor, only the best.
    """
    for rename in (str, _without_wrappers):
        theirs = {rename(key): value for key, value in state.items()}
        ours = {rename(key): key for key in own}
        if len(theirs) < len(state) or len(ours) < len(own):  # two keys would become one
            continue
        needed = [tuple(map(rename, keys)) for keys in tensors_of(own)]
        found = {
            prefix: sum(any(prefix + key in theirs for key in keys) for keys in needed)
            for prefix in ["", *_prefixes(theirs, needed)]
        }
        whole = [prefix for prefix in found if found[prefix] == len(needed)]
        fits = False
        for prefix in whole or [max(found, key=lambda prefix: found[prefix])]:
            below = {key.removeprefix(prefix): value for key, value in theirs.items() if key.startswith(prefix)}
            part = without_auxiliary({ours.get(key, key): value for key, value in below.items()}, auxiliary)
            fitting = bool(whole) and all(key in own and own[key].shape == value.shape for key, value in part.items())
            fits = fits or fitting
            where = ".".join(filter(None, (place, prefix.rstrip("."))))
            yield _Match(place=where, state=part, found=found[prefix], fits=fitting)
        if fits:
            return


def _prefixes(theirs: State, needed: list[tuple[str, ...]]) -> list[str]:
    """What stands before the network's first tensor that theirs have."""
    for first in (key for keys in needed for key in keys):
        if first in theirs or any(key.endswith(f".{first}") for key in theirs):
            return [key.removesuffix(first) for key in theirs if key.endswith(f".{first}")]
    return []


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
