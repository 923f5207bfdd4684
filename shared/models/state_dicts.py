"""State dicts: reading the weights file of any user, fitting it into a network, and the identity of weights."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line

_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def is_weights_file(text: str) -> bool:
    """Whether a ``--weights`` value means a file, rather than an entry's name."""
    return text.endswith(_WEIGHT_SUFFIXES) or os.path.isfile(text)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch file (with ``weights_only=True``).

    Wrappers that training scripts add (``state_dict``, ``model``, a ``module.`` prefix) are removed.

    Raises:
        ConfigError: the file is missing or holds no state dict.
    """
    if not os.path.isfile(path):  # a pipe would be waited for without end
        raise ConfigError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        _check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler may raise anything for a file that is something else
        raise ConfigError(f"{path} cannot be read as weights: {one_line(error)}") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(inner := dict.get(loaded, wrapper), dict):
            loaded = inner
            break
    # The methods of dict and Tensor themselves: an object in the file may have attributes of the same names.
    items: list[Any] = list(dict.items(loaded)) if isinstance(loaded, dict) else []
    if not isinstance(loaded, dict) or not all(type(key) is str and _is_plain(value) for key, value in items):
        raise ConfigError(f"{path} holds no state dict; save it with torch.save(model.state_dict(), path)")
    return {key.removeprefix("module."): Tensor.detach(value) for key, value in items}


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file by key, from its header alone.

    Raises:
        ConfigError: the file is missing or is none.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"there is no weights file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except Exception as error:  # safetensors' own kind of error, or that of the file system
        raise ConfigError(f"{path} cannot be read as weights: {one_line(error)}") from error


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


def _is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor with its numbers in memory."""
    plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and not value.is_quantized and not value.is_nested


def fit_weights(network: nn.Module, state: Mapping[str, Tensor], *, name: str, auxiliary: tuple[str, ...] = ()) -> None:
    """Load a state dict into a network, in place; only BatchNorm's batch counters may be missing.

    Args:
        auxiliary: how the keys of weights begin that the network has no use for.

    Raises:
        ConfigError: a key, a shape or the kind of numbers does not fit; the first misfit is named.
    """
    own = network.state_dict()
    state = {key: value for key, value in state.items() if not key.startswith(auxiliary)} if auxiliary else state
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unknown or shapes:
        if shapes:
            key = shapes[0]
            misfit = f"{key} is {tuple(state[key].shape)} in the weights and {tuple(own[key].shape)} in the network"
        else:
            misfit = f"the weights lack {missing[0]}" if missing else f"the network lacks {unknown[0]!r:.200}"
        raise ConfigError(
            f"the weights do not fit {name}: {misfit} ({len(missing)} keys missing, {len(unknown)} unknown,"
            f" {len(shapes)} of another shape); check --teacher, --weights and --num-classes"
        )
    for key, value in own.items():
        if key in state and not _converts(given := state[key].dtype, value.dtype):
            raise ConfigError(
                f"the weights do not fit {name}: {key} is {given} there, and {value.dtype} in the network"
            )
    # Which version of its layers' code a state is of stands beside its tensors, and most files lose it. Where shapes
    # fit, it is the network's own.
    versioned = OrderedDict(state)
    versioned._metadata = own._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=False)


def _converts(given: torch.dtype, own: torch.dtype) -> bool:
    """Whether weights of one number format mean the same in another: fractions in fractions, whole numbers in whole."""
    return given.is_floating_point == own.is_floating_point and given.is_complex == own.is_complex


def weights_sha256(network: nn.Module) -> str:
    """Identity of a network's weights: names, shapes and values, whatever file they came in; sha256 in hex."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
