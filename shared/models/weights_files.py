"""The weights file of any user: the state dicts in it, wherever its trainer put them. No code in it is run."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line
from ..core.places import is_address
from .file_kinds import describe_other
from .state_dicts import State

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_DEEPEST = 8  # dicts in one another
_MOST_CLASSES = 200  # Python classes that a file names


def is_weights_file(text: str) -> bool:
    """Whether a ``--weights`` value means a file, rather than an entry's name."""
    return text.endswith(_SUFFIXES) or os.path.exists(text)


def read_checkpoint(path: Path) -> Mapping[str, State]:
    """The state dicts of a weights file by their place in it: ``""`` for the whole file, ``model.ema`` for inner ones.

    safetensors files and torch files are told apart by their content. A torch file is read with ``weights_only=True``;
    objects of other classes in it, such as a trainer's options, are left out unread.

    Raises:
        ConfigError: there is no such file, or it holds no state dict. The message says what it is.
    """
    if not os.path.isfile(path):  # a pipe would be waited for without end
        what = ""
        if is_address(path):
            what = ": it is an address, fetch the file first"
        elif os.path.isdir(path):
            what = ": it is a folder, name the file in it"
        raise ConfigError(f"there is no weights file {path}{what}")
    try:
        if path.suffix == ".safetensors" or _has_safetensors_header(path):
            return {"": safetensors.torch.load_file(path)}
        if other := describe_other(path):
            raise ConfigError(f"{path} {other}")
        _check_archive(path)
        loaded = _load_torch(path)
    except ConfigError:
        raise
    except Exception as error:  # safetensors' own kind of error; torch's unpickler may raise anything
        raise ConfigError(f"{path} {_why_unreadable(path, error)}") from error
    unfit = _Unfit()
    found = dict(_state_dicts(loaded, unfit, set()))
    if not found and unfit.networks:
        raise ConfigError(
            f"{path} holds a pickled network ({type(unfit.networks[0]).__name__}), which is code and is not run: in"
            " Python, save torch.save(network.state_dict(), 'weights.pth'), and name that"
        )
    if not found and unfit.quantized:
        raise ConfigError(f"{path} holds a quantized network: save the state dict of the one that it was made of")
    if not found:
        raise ConfigError(f"{path} holds no state dict; save it with torch.save(network.state_dict(), path)")
    return found


def _why_unreadable(path: Path, error: Exception) -> str:
    if other := describe_other(path):
        return other
    reason = one_line(error)
    if not isinstance(error, OSError | ValueError | safetensors.SafetensorError):  # torch advises to run such a file
        held = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"an object of {held[1]:.80} is in it" if held else "it is no file of tensors by torch.save or safetensors"
        )
        reason = f"{what}; save torch.save(network.state_dict(), 'weights.pth') where it was trained"
    return f"cannot be read as weights: {reason}"


def _has_safetensors_header(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size


def _check_archive(path: Path) -> None:
    """Refuse what torch.save does not write: a small file that claims to hold far more than its size.

    Raises:
        ValueError: the file is such an archive.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its parts are compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its parts are larger than the file")


class _Unread:
    """Stands for an object of a class that is not a tensor's: trainers save their options and records too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def is_network(self) -> bool:
        state = self.__dict__.get("state")
        return isinstance(state, dict) and "_parameters" in state and "_modules" in state


@dataclass(slots=True)
class _Unfit:
    """What looks like a network in a file, and is no state dict."""

    networks: list[_Unread] = field(default_factory=list)
    quantized: bool = False


def _load_torch(path: Path) -> Any:
    """What a torch file holds, with :class:`_Unread` in the place of objects that are no plain values.

    torch refuses them all by default. Here each name gets a class of ours, so that nothing of theirs is imported.
    """
    names: list[str] = []
    if zipfile.is_zipfile(path):
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        if len(names) > _MOST_CLASSES:
            raise ValueError(f"it names {len(names)} Python classes")
    unread: Any = [(type(name, (_Unread,), {}), name) for name in names]
    with torch.serialization.safe_globals(unread), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kinds of tensors that are refused later
        return torch.load(path, map_location="cpu", weights_only=True)


def _state_dicts(value: Any, unfit: _Unfit, seen: set[int], place: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The dicts of tensors in a value, each with its place. What else is found goes into ``unfit``."""
    if isinstance(value, _Unread) and value.is_network:
        unfit.networks.append(value)
    if not isinstance(value, dict | list | tuple) or id(value) in seen or place.count(".") > _DEEPEST:
        return
    seen.add(id(value))
    # dict's own method: an object in the file may have an attribute of the same name.
    items = dict.items(value) if isinstance(value, dict) else ((str(n), item) for n, item in enumerate(value))
    named = [(key, item) for key, item in items if type(key) is str]
    if any(isinstance(item, Tensor) and item.is_quantized for _, item in named):
        unfit.quantized = True
    elif tensors := {key: Tensor.detach(item) for key, item in named if _is_dense(item)}:
        yield place, tensors
    for key, item in named:
        yield from _state_dicts(item, unfit, seen, f"{place}.{key}" if place else key)


def _is_dense(value: Any) -> bool:
    """Whether a value is a plain tensor with its numbers in memory."""
    plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and not value.is_nested
